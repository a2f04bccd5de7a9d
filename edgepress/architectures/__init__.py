"""Networks to train, one module each; PyTorch."""
