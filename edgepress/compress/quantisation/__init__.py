"""Number formats: float16, dynamic int8, and int8 after or during training."""
