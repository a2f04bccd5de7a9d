"""Which of several forms of an operator XNNPACK computes faster, or as ONNX does."""

import numpy as np

from edgepress.convert.writer.graph import Codes, Shape, Tensor


def spread(operand: Tensor, other: Shape, rows: bool = True) -> Tensor:
    """A constant operand in the form of the same numbers that kernels broadcast fastest.

    That is one number; and, with `rows`, a row of the image in place of a number for each of its few
    channels, since XNNPACK's inner loop is what repeats in memory.
    """
    values = operand.values
    if values is None or values.size < 2 or np.broadcast_shapes(operand.shape, other) != other:
        return operand
    shape = operand.shape
    if (values == values.flat[0]).all():
        values = values.reshape(-1)[:1].reshape((1,) * len(shape))
    elif rows and len(other) > 2 and values.size == shape[-1] < _FEW and other[-2] > 1:
        values = np.tile(values.reshape(-1), (other[-2], 1))
    else:
        return operand
    return Tensor(operand.name, values.shape, operand.dtype, operand.codes, values)


_FEW = 16


def requantised_inexactly(old: Codes, new: Codes) -> bool:
    """Whether XNNPACK gives any code another one than the quotient of the scales asks for."""
    quotient = float(np.float32(old.scale.item()) / np.float32(new.scale.item()))
    if old.dtype != "int8" or new.dtype != "int8" or not _LEAST_FACTOR <= quotient < _FACTORS_BELOW:
        return False
    numbers = np.arange(-128, 128) - old.zero_point
    exact, rough = numbers * quotient, np.floor(numbers * np.rint(quotient * 256) / 256 + 0.5)
    half_way = np.abs(exact - np.floor(exact) - 0.5) < _NEAR
    within = (exact + new.zero_point > -129) & (exact + new.zero_point < 128)
    return bool((half_way | (rough != np.rint(exact)))[within].any())


_NEAR = 1e-5
_LEAST_FACTOR, _FACTORS_BELOW = 2.0**-16, 2.0**8
"""Those that XNNPACK multiplies by; others are left to kernels that are exact."""
