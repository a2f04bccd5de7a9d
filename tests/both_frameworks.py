"""To be imported before TensorFlow where a process also uses PyTorch.

Triton, which comes with PyTorch for GPUs, crashes where TensorFlow is there already.
"""

import importlib
from contextlib import suppress

with suppress(ImportError):
    importlib.import_module("triton")
