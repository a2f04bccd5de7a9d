"""What the steps of a plan compute, one file per family of operations."""
