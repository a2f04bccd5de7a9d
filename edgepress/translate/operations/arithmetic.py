"""Operations of several tensors, element by element, and matrix products."""

import functools
from collections.abc import Callable

from edgepress.translate.operations.base import Operation, Table, Tensor, binary, in_words
from edgepress.translate.plan import Step
from edgepress.translate.tensorflow_setup import tf


def _all(operation: Callable[[Tensor, Tensor], Tensor]) -> Operation:
    return lambda step, inputs: functools.reduce(operation, inputs)


def _divided(left: Tensor, right: Tensor) -> Tensor:
    """ONNX divides integers towards zero."""
    if left.dtype.is_floating:
        return tf.divide(left, right)
    if left.dtype.is_unsigned:
        return tf.math.floordiv(left, right)
    quotient = tf.math.floordiv(tf.abs(left), tf.abs(right))
    return quotient * tf.sign(left) * tf.sign(right)


def _power(base: Tensor, exponent: Tensor) -> Tensor:
    """Of the base's type; whole numbers are raised as such where the exponent is whole too."""
    if not base.dtype.is_floating and exponent.dtype.is_floating:
        return tf.cast(tf.pow(tf.cast(base, exponent.dtype), exponent), base.dtype)
    return tf.pow(base, tf.cast(exponent, base.dtype))


def _matmul(step: Step, inputs: list[Tensor]) -> Tensor:
    a = step.attributes
    return tf.matmul(inputs[0], inputs[1], transpose_a=a["left"], transpose_b=a["right"])


def _gemm(step: Step, inputs: list[Tensor]) -> Tensor:
    a = step.attributes
    product = tf.matmul(inputs[0], inputs[1], transpose_a=a["left"], transpose_b=a["right"])
    product = product if a["alpha"] == 1.0 else a["alpha"] * product
    if len(inputs) == 2:
        return product
    return product + (inputs[2] if a["beta"] == 1.0 else a["beta"] * inputs[2])


def _einsum(step: Step, inputs: list[Tensor]) -> Tensor:
    return tf.einsum(step.attributes["equation"], *inputs)


def _fmod(left: Tensor, right: Tensor) -> Tensor:
    """The remainder with the sign of the dividend."""
    return tf.sign(left) * tf.math.floormod(tf.abs(left), tf.abs(right))


def _shifted(shift: Callable[[Tensor, Tensor], Tensor], right: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """By fewer places than there are bits; else only the sign is left, of a shift to the right."""

    def apply(value: Tensor, places: Tensor) -> Tensor:
        most = value.dtype.size * 8 - 1
        fits = tf.logical_and(places >= 0, places <= tf.constant(most, places.dtype))
        within = tf.where(fits, places, tf.constant(most, places.dtype))
        made = shift(value, within)
        sign = right and not value.dtype.is_unsigned
        return made if sign else tf.where(fits, made, tf.zeros_like(made))

    return apply


OPERATIONS: Table = {
    "add": in_words(binary(tf.add)),
    "sub": in_words(binary(tf.subtract)),
    "mul": in_words(binary(tf.multiply)),
    "div": in_words(binary(_divided)),
    "pow": binary(_power),
    "floor_mod": in_words(binary(tf.math.floormod)),
    "fmod": in_words(binary(_fmod)),
    "bitwiseand": binary(tf.bitwise.bitwise_and),
    "bitwiseor": binary(tf.bitwise.bitwise_or),
    "bitwisexor": binary(tf.bitwise.bitwise_xor),
    "shift_left": binary(_shifted(tf.bitwise.left_shift, False)),
    "shift_right": binary(_shifted(tf.bitwise.right_shift, True)),
    "max": in_words(binary(tf.maximum)),
    "min": in_words(binary(tf.minimum)),
    "equal": in_words(binary(tf.equal)),
    "greater": in_words(binary(tf.greater)),
    "greaterorequal": in_words(binary(tf.greater_equal)),
    "less": in_words(binary(tf.less)),
    "lessorequal": in_words(binary(tf.less_equal)),
    "and": binary(tf.logical_and),
    "or": binary(tf.logical_or),
    "xor": binary(tf.not_equal),
    "sum_of": in_words(_all(tf.add)),
    "max_of": in_words(_all(tf.maximum)),
    "min_of": in_words(_all(tf.minimum)),
    "where": lambda step, inputs: tf.where(*inputs),
    "matmul": _matmul,
    "gemm": _gemm,
    "einsum": _einsum,
}
