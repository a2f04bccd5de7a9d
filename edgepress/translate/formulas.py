"""Functions that TFLite and TensorFlow have no operation for, or not a good one, written out in others.

Each is written once, for any arithmetic: that of TensorFlow's tensors, and that of operators added to
a `.tflite`. Tensors are whatever that arithmetic computes with; operands may be numbers or arrays.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

Tensor = Any
Axes = tuple[int, ...]


class Arithmetic(Protocol):
    """What the formulas are written in; `kind` is the name of a TFLite operator."""

    def unary(self, kind: str, x: Tensor) -> Tensor:
        """Of each element."""

    def plus(self, x: Tensor, y: Tensor) -> Tensor: ...

    def minus(self, x: Tensor, y: Tensor) -> Tensor: ...

    def times(self, x: Tensor, y: Tensor) -> Tensor: ...

    def over(self, x: Tensor, y: Tensor) -> Tensor: ...

    def lesser(self, x: Tensor, y: float) -> Tensor:
        """The smaller of two."""

    def larger(self, x: Tensor, y: float) -> Tensor:
        """The larger of two."""

    def where_positive(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """y where x is above 0, else z."""

    def reduce(self, kind: str, x: Tensor, axes: Sequence[int], keepdims: bool) -> Tensor:
        """SUM, MEAN or REDUCE_MAX over axes."""

    def without(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        """Without these axes, of size 1."""


def elu(a: Arithmetic, x: Tensor, alpha: float) -> Tensor:
    """alpha·(e^x − 1) below 0."""
    if alpha == 1.0:
        return a.unary("ELU", x)
    return a.where_positive(x, x, a.times(a.minus(a.unary("EXP", x), 1.0), alpha))


def selu(a: Arithmetic, x: Tensor, alpha: float, gamma: float) -> Tensor:
    """gamma times an ELU."""
    negative = a.times(a.unary("ELU", a.lesser(x, 0.0)), alpha)
    return a.times(a.plus(a.unary("RELU", x), negative), gamma)


def celu(a: Arithmetic, x: Tensor, alpha: float) -> Tensor:
    """alpha·(e^(x/alpha) − 1) below 0."""
    negative = a.times(a.unary("ELU", a.over(a.lesser(x, 0.0), alpha)), alpha)
    return a.plus(a.unary("RELU", x), negative)


def softplus(a: Arithmetic, x: Tensor) -> Tensor:
    """log(1 + e^x), in a form that does not overflow where exp(x) does."""
    power = a.unary("EXP", a.unary("NEG", a.unary("ABS", x)))
    return a.plus(a.unary("RELU", x), a.unary("LOG", a.plus(power, 1.0)))


def softsign(a: Arithmetic, x: Tensor) -> Tensor:
    """x/(1 + |x|)."""
    return a.over(x, a.plus(a.unary("ABS", x), 1.0))


def mish(a: Arithmetic, x: Tensor) -> Tensor:
    """x·tanh(log(1 + e^x)), in which tanh is n/(n + 2) with n = e^x·(e^x + 2); it is 1 from x = 20 on."""
    power = a.unary("EXP", a.lesser(x, 20.0))
    n = a.times(power, a.plus(power, 2.0))
    return a.over(a.times(x, n), a.plus(n, 2.0))


_ERF_NUMERATOR = (
    -2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
    -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02,
)  # fmt: skip
_ERF_DENOMINATOR = (
    -1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
    -1.42647390514189e-02,
)  # fmt: skip


def erf(a: Arithmetic, x: Tensor) -> Tensor:
    """The rational function that Eigen and XLA compute float32's with.

    It differs from erf by a few units in the last place (Eigen, MathFunctionsImpl.h, `generic_fast_erf`).
    """
    x = a.lesser(a.larger(x, -4.0), 4.0)
    square = a.times(x, x)
    above = a.times(x, _polynomial(a, square, _ERF_NUMERATOR))
    return a.over(above, _polynomial(a, square, _ERF_DENOMINATOR))


def _polynomial(a: Arithmetic, x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    total = a.plus(a.times(x, coefficients[0]), coefficients[1])
    for coefficient in coefficients[2:]:
        total = a.plus(a.times(total, x), coefficient)
    return total


def reciprocal(a: Arithmetic, x: Tensor) -> Tensor:
    """1/x."""
    return a.over(1.0, x)


def softmax_over(a: Arithmetic, x: Tensor, axes: Axes, log: bool) -> Tensor:
    """Softmax over several axes, or its logarithm."""
    shifted = a.minus(x, a.reduce("REDUCE_MAX", x, axes, True))
    power = a.unary("EXP", shifted)
    total = a.reduce("SUM", power, axes, True)
    return a.minus(shifted, a.unary("LOG", total)) if log else a.over(power, total)


def l1(a: Arithmetic, x: Tensor, axes: Axes, keepdims: bool) -> Tensor:
    """The sum of magnitudes."""
    return a.reduce("SUM", a.unary("ABS", x), axes, keepdims)


def sum_square(a: Arithmetic, x: Tensor, axes: Axes, keepdims: bool) -> Tensor:
    """The sum of squares."""
    return a.reduce("SUM", a.times(x, x), axes, keepdims)


def l2(a: Arithmetic, x: Tensor, axes: Axes, keepdims: bool) -> Tensor:
    """The root of the sum of squares."""
    return a.unary("SQRT", sum_square(a, x, axes, keepdims))


def log_sum(a: Arithmetic, x: Tensor, axes: Axes, keepdims: bool) -> Tensor:
    """The logarithm of the sum."""
    return a.unary("LOG", a.reduce("SUM", x, axes, keepdims))


def log_sum_exp(a: Arithmetic, x: Tensor, axes: Axes, keepdims: bool) -> Tensor:
    """log Σ e^x, which does not overflow where e^x does."""
    high = a.reduce("REDUCE_MAX", x, axes, True)
    total = a.reduce("SUM", a.unary("EXP", a.minus(x, high)), axes, keepdims)
    return a.plus(a.unary("LOG", total), high if keepdims else a.without(high, axes))


def normalised(
    a: Arithmetic, x: Tensor, axes: Axes, epsilon: float, part: str, scale: Any = None, shift: Any = None
) -> Tensor:
    """(x − mean)/√(variance + epsilon)·scale + shift over `axes`; or, as `part` asks, mean or 1/√…."""
    mean = a.reduce("MEAN", x, axes, True)
    if part == "mean":
        return mean
    centred = a.minus(x, mean)
    variance = a.reduce("MEAN", a.times(centred, centred), axes, True)
    spread = a.unary("RSQRT", a.plus(variance, epsilon))
    if part == "spread":
        return spread
    result = a.times(centred, spread)
    result = result if scale is None else a.times(result, scale)
    return result if shift is None else a.plus(result, shift)


def lp_normalised(a: Arithmetic, x: Tensor, axis: int, p: int) -> Tensor:
    """Where the norm is 0, ONNX's result is 0."""
    norm = (l1 if p == 1 else l2)(a, x, (axis,), True)
    return a.over(x, a.where_positive(norm, norm, np.float32(1.0)))
