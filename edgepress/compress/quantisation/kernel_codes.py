"""Kernels as codes: symmetric, with a scale for each output channel."""

import numpy as np

from edgepress.graph.view import Array
from edgepress.graph.weights import channel_magnitudes

BYTE = 127
"""The largest code of int8; the smallest is its negative."""


def largest_scales(values: Array, axis: int, largest: int = BYTE) -> Array:
    """Scales (channels,) under which each channel's largest magnitude has the largest code; 1 for zeros."""
    scales = channel_magnitudes(values, axis).reshape(-1) / np.float32(largest)
    return np.where(scales > 0, scales, 1).astype(np.float32)


def codes(values: Array, scales: Array, axis: int, largest: int = BYTE) -> Array:
    """The int8 codes of a kernel, none beyond ±`largest`."""
    shape = [1] * values.ndim
    shape[axis] = -1
    rounded: Array = np.rint(values / scales.reshape(shape))
    return np.clip(rounded, -largest, largest).astype(np.int8)
