"""Activations and other functions of single elements."""

from typing import Any

from edgepress.translate.operations.base import Table, Tensor, in_words, operand, unary
from edgepress.translate.plan import Step
from edgepress.translate.tensorflow_setup import tf

_ERF_NUMERATOR = (
    -2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
    -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02,
)  # fmt: skip
_ERF_DENOMINATOR = (
    -1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
    -1.42647390514189e-02,
)  # fmt: skip


def _clip(value: Tensor, low: float | None, high: float | None) -> Tensor:
    """ReLU6 and the like by their own names, which TFLite fuses."""
    if low == 0.0 and high == 6.0 and value.dtype.is_floating:
        return tf.nn.relu6(value)
    relu = low == 0.0 and value.dtype.is_floating
    value = value if low is None else tf.nn.relu(value) if relu else tf.maximum(value, _like(value, low))
    return value if high is None else tf.minimum(value, _like(value, high))


def _like(value: Tensor, number: float) -> Tensor:
    return number if value.dtype.is_floating else tf.constant(int(number), value.dtype)


def _hard_swish(value: Tensor) -> Tensor:
    return value * tf.nn.relu6(value + 3.0) * (1.0 / 6.0)


def _elu(value: Tensor, alpha: float) -> Tensor:
    return tf.nn.elu(value) if alpha == 1.0 else tf.where(value > 0, value, alpha * (tf.exp(value) - 1.0))


def _selu(value: Tensor, alpha: float, gamma: float) -> Tensor:
    return gamma * (tf.nn.relu(value) + alpha * tf.nn.elu(tf.minimum(value, 0.0)))


def _celu(value: Tensor, alpha: float) -> Tensor:
    return tf.nn.relu(value) + alpha * tf.nn.elu(tf.minimum(value, 0.0) / alpha)


def _softplus(value: Tensor) -> Tensor:
    """TFLite's own overflows where exp(x) does."""
    return tf.nn.relu(value) + tf.math.log(1.0 + tf.exp(-tf.abs(value)))


def _mish(value: Tensor) -> Tensor:
    """x·tanh(log(1 + e^x)), in which tanh is n/(n + 2) with n = e^x·(e^x + 2); it is 1 from x = 20 on."""
    power = tf.exp(tf.minimum(value, 20.0))
    n = power * (power + 2.0)
    return value * n / (n + 2.0)


def _erf(value: Tensor) -> Tensor:
    """TFLite has no Erf. This is the rational function that Eigen and XLA compute float32's with.

    It differs from erf by a few units in the last place (Eigen, MathFunctionsImpl.h, `generic_fast_erf`).
    """
    x = tf.clip_by_value(value, -4.0, 4.0)
    square = x * x
    return x * _polynomial(square, _ERF_NUMERATOR) / _polynomial(square, _ERF_DENOMINATOR)


def _polynomial(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    total: Any = coefficients[0]
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total


def _prelu(step: Step, inputs: list[Tensor]) -> Tensor:
    """max(x, 0) + slope·min(x, 0)."""
    value = inputs[0]
    if not value.dtype.is_floating:
        return tf.where(value > 0, value, value * inputs[1])
    if "slope" not in step.weights:
        return tf.nn.relu(value) - inputs[1] * tf.nn.relu(-value)
    return tf.nn.relu(value) - operand(step.weights["slope"]) * tf.nn.relu(-value)


def _softmax_over(value: Tensor, axes: tuple[int, ...], log: bool) -> Tensor:
    shifted = value - tf.reduce_max(value, axes, keepdims=True)
    total = tf.reduce_sum(tf.exp(shifted), axes, keepdims=True)
    return shifted - tf.math.log(total) if log else tf.exp(shifted) / total


OPERATIONS: Table = {
    "relu": unary(tf.nn.relu),
    "clip": in_words(unary(_clip)),
    "sigmoid": unary(tf.sigmoid),
    "tanh": unary(tf.tanh),
    "leaky_relu": unary(tf.nn.leaky_relu),
    "prelu": _prelu,
    "elu": unary(_elu),
    "selu": unary(_selu),
    "celu": unary(_celu),
    "hard_swish": unary(_hard_swish),
    "softplus": unary(_softplus),
    "softsign": unary(tf.math.softsign),
    "gelu": unary(tf.nn.gelu),
    "mish": unary(_mish),
    "erf": unary(_erf),
    "exp": unary(tf.exp),
    "log": unary(tf.math.log),
    "sqrt": unary(tf.sqrt),
    "reciprocal": unary(lambda value: 1.0 / value),
    "neg": unary(tf.negative),
    "abs": unary(tf.abs),
    "floor": unary(tf.floor),
    "ceil": unary(tf.math.ceil),
    "not": unary(tf.logical_not),
    "identity": unary(tf.identity),
    "softmax": unary(tf.nn.softmax),
    "log_softmax": unary(tf.nn.log_softmax),
    "softmax_over": unary(_softmax_over),
}
