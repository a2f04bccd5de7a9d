"""Kernels that share few values: fitting, finding and training them."""
