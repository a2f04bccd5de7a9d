"""Frozen dataclasses, one module for each section of `params.yaml`, and the loader that fills them."""
