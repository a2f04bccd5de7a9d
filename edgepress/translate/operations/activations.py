"""Activations and other functions of single elements."""

from edgepress.translate import formulas
from edgepress.translate.operations.base import Table, Tensor, in_words, operand, unary
from edgepress.translate.operations.tensors import formula
from edgepress.translate.plan import Step
from edgepress.translate.tensorflow_setup import tf


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


def _prelu(step: Step, inputs: list[Tensor]) -> Tensor:
    """max(x, 0) + slope·min(x, 0)."""
    value = inputs[0]
    if not value.dtype.is_floating:
        return tf.where(value > 0, value, value * inputs[1])
    if "slope" not in step.weights:
        return tf.nn.relu(value) - inputs[1] * tf.nn.relu(-value)
    return tf.nn.relu(value) - operand(step.weights["slope"]) * tf.nn.relu(-value)


OPERATIONS: Table = {
    "relu": unary(tf.nn.relu),
    "clip": in_words(unary(_clip)),
    "sigmoid": unary(tf.sigmoid),
    "tanh": unary(tf.tanh),
    "leaky_relu": unary(tf.nn.leaky_relu),
    "prelu": _prelu,
    "elu": formula(formulas.elu),
    "selu": formula(formulas.selu),
    "celu": formula(formulas.celu),
    "hard_swish": unary(_hard_swish),
    "softplus": formula(formulas.softplus),
    "softsign": formula(formulas.softsign),
    "gelu": unary(tf.nn.gelu),
    "mish": formula(formulas.mish),
    "erf": formula(formulas.erf),
    "exp": unary(tf.exp),
    "log": unary(tf.math.log),
    "sqrt": unary(tf.sqrt),
    "reciprocal": formula(formulas.reciprocal),
    "neg": in_words(unary(tf.negative)),
    "abs": in_words(unary(tf.abs)),
    "floor": unary(tf.floor),
    "ceil": unary(tf.math.ceil),
    "not": unary(tf.logical_not),
    "sin": unary(tf.sin),
    "cos": unary(tf.cos),
    "atan": unary(lambda value: tf.atan2(value, tf.ones_like(value))),
    "round": unary(tf.round),
    "sign": in_words(unary(tf.sign)),
    "bitwise_not": unary(tf.bitwise.invert),
    "bit_cast": unary(lambda value, dtype: tf.bitcast(value, dtype)),
    "identity": unary(tf.identity),
    "softmax": unary(tf.nn.softmax),
    "log_softmax": unary(tf.nn.log_softmax),
    "softmax_over": formula(formulas.softmax_over),
}
