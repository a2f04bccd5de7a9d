"""Integer codes, and the numbers that they stand for."""

from typing import Any

import numpy as np

from edgepress.graph.view import Array


def dequantise(codes: Array, scale: Array, zero_point: Array, axis: int, block: int = 0) -> Array:
    """(codes − zero point)·scale, per tensor, along `axis` or for each `block` of it; float32."""
    shift = _spread(zero_point.astype(np.float32), codes.shape, axis, block)
    factor = _spread(scale.astype(np.float32), codes.shape, axis, block)
    values: Array = (codes.astype(np.float32) - shift) * factor
    return values


def quantise(values: Array, scale: Array, zero_point: Array, axis: int, block: int = 0) -> Array:
    """The codes of float values, rounded half to even and saturated, of the zero point's type."""
    low, high = code_limits(zero_point.dtype)
    factor = _spread(scale.astype(np.float32), values.shape, axis, block)
    shift = _spread(zero_point.astype(np.float32), values.shape, axis, block)
    codes: Array = np.clip(np.rint(values / factor) + shift, low, high).astype(zero_point.dtype)
    return codes


_NARROW = {"int4": (-8, 7), "uint4": (0, 15), "int2": (-2, 1), "uint2": (0, 3)}
"""The limits of types that onnx has and numpy has not."""


def code_limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    """The lowest and the highest code of a type."""
    if dtype.name in _NARROW:
        return _NARROW[dtype.name]
    limits = np.iinfo(dtype)
    return limits.min, limits.max


def held_in_half(values: Array) -> bool:
    """Whether float16 has all of these numbers to its precision: none becomes infinite, and few digits less.

    Numbers below 2⁻¹⁴ lose digits; where the largest is so small, all do.
    """
    limits, magnitudes = np.finfo(np.float16), np.abs(values[np.isfinite(values)])
    largest = float(magnitudes.max(initial=0))
    return largest <= float(limits.max) and (largest == 0 or largest >= float(limits.smallest_normal))


def _spread(parameters: Array, shape: tuple[int, ...], axis: int, block: int) -> Array:
    """Scales or zero points, so that they broadcast against a tensor of this shape."""
    if parameters.size == 1:
        return parameters.reshape([1] * len(shape))
    if parameters.ndim == len(shape) and block:
        return np.repeat(parameters, block, axis).take(range(shape[axis]), axis)
    sizes = [1] * len(shape)
    sizes[axis] = -1
    return parameters.reshape(sizes)
