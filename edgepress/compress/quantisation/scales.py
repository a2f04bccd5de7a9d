"""The int8 scale and zero point that stand for a range."""

import numpy as np

UNIT = "unit_factor."
"""Begins the names of factors of 1 that only give codes another scale; a number follows."""


def unit_range(name: str) -> tuple[float, float]:
    """The range of such a factor: 1 is a code of it, and each number has another.

    TensorFlow would take two products of a tensor by the same factor for one.
    """
    return 0.0, 255 / (255 - int(name.removeprefix(UNIT)) % 128)


def scale_and_zero_point(low: float, high: float) -> tuple[np.float32, np.int8]:
    """int8 parameters of a range widened to hold 0, its zero point nudged to an integer.

    A range of 0 alone gets codes from 0 up, as what a Relu makes has: its Relu may be left out.
    Rounds as TensorFlow's `fake_quant_with_min_max_vars` does, so that both runtimes get the same.
    """
    lowest, highest = np.float32(min(low, 0.0)), np.float32(max(high, 0.0))
    scale = np.float32((highest - lowest) / np.float32(255))
    if scale == 0:
        return np.float32(1), np.int8(-128)
    zero = int(np.clip(np.floor(-lowest / scale + np.float32(0.5)), 0, 255))
    while (again := _from_bounds(scale, zero)) != scale:
        scale = again
    return scale, np.int8(zero - 128)


def _from_bounds(scale: np.float32, zero: int) -> np.float32:
    """The scale that TFLite's converter finds between the ends of the range: in some, its last bit differs.

    Of the scales found so one is found again, always at once or nearly so.
    """
    low, high = (np.float32((code - zero) * float(scale)) for code in (0, 255))
    return np.float32((float(high) - float(low)) / 255)
