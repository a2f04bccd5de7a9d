"""Fine-tuning, which every compression shares."""
