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


def least_error_scales(values: Array, axis: int, largest: int) -> Array:
    """Scales (channels,) of the least squared error: with few codes, cutting a few large weights is cheaper
    than rounding all others to coarse steps.

    As in Banner, Nahshan & Soudry, "Post-training 4-bit quantization of convolutional networks", NeurIPS
    2019, but by trial of shares of the largest magnitude instead of a model of the distribution.
    """
    rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
    whole = largest_scales(values, axis, largest)
    best, least = whole, np.full(len(whole), np.inf)
    for share in np.linspace(1, _LEAST_SHARE, _SHARES, dtype=np.float32):
        scales = whole * share
        error = np.square(codes(rows, scales, 0, largest) * scales[:, None] - rows).sum(axis=1)
        best, least = np.where(error < least, scales, best), np.minimum(error, least)
    return best.astype(np.float32)


_LEAST_SHARE, _SHARES = 0.4, 31


def codes(values: Array, scales: Array, axis: int, largest: int = BYTE) -> Array:
    """The int8 codes of a kernel, none beyond ±`largest`."""
    shape = [1] * values.ndim
    shape[axis] = -1
    rounded: Array = np.rint(values / scales.reshape(shape))
    return np.clip(rounded, -largest, largest).astype(np.int8)
