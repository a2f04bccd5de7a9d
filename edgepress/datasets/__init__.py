"""Data sets, their splits and augmentation; numpy only."""
