"""TensorFlow's tensors as an arithmetic for `edgepress.translate.formulas`."""

from collections.abc import Callable, Sequence
from typing import Any

from edgepress.translate.cells import Matrix
from edgepress.translate.operations.base import Operation, Tensor
from edgepress.translate.tensorflow_setup import tf

_UNARY = {
    "ABS": tf.abs,
    "ELU": tf.nn.elu,
    "EXP": tf.exp,
    "LOG": tf.math.log,
    "LOGISTIC": tf.sigmoid,
    "NEG": tf.negative,
    "RELU": tf.nn.relu,
    "RSQRT": tf.math.rsqrt,
    "SQRT": tf.sqrt,
    "TANH": tf.tanh,
}
_REDUCTIONS = {"MEAN": tf.reduce_mean, "REDUCE_MAX": tf.reduce_max, "SUM": tf.reduce_sum}


class TensorArithmetic:
    """Computes what it is asked for."""

    def unary(self, kind: str, x: Tensor) -> Tensor:
        return _UNARY[kind](x)

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        return tf.add(x, y)

    def minus(self, x: Tensor, y: Tensor) -> Tensor:
        return tf.subtract(x, y)

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        return tf.multiply(x, y)

    def over(self, x: Tensor, y: Tensor) -> Tensor:
        return tf.divide(x, y)

    def lesser(self, x: Tensor, y: float) -> Tensor:
        return tf.minimum(x, y)

    def larger(self, x: Tensor, y: float) -> Tensor:
        return tf.maximum(x, y)

    def where_positive(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        return tf.where(x > 0, y, z)

    def reduce(self, kind: str, x: Tensor, axes: Sequence[int], keepdims: bool) -> Tensor:
        return _REDUCTIONS[kind](x, axes, keepdims)

    def without(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        return tf.squeeze(x, axes)

    def constant(self, values: Any) -> Tensor:
        return tf.convert_to_tensor(values)

    def split(self, x: Tensor, count: int, axis: int) -> list[Tensor]:
        parts: list[Tensor] = tf.split(x, count, axis)
        return parts

    def slice(self, x: Tensor, begin: Sequence[int], size: Sequence[int]) -> Tensor:
        return tf.slice(x, begin, [-1, *size[1:]])

    def unpack(self, x: Tensor, axis: int) -> list[Tensor]:
        parts: list[Tensor] = tf.unstack(x, axis=axis)
        return parts

    def pack(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        return tf.stack(list(parts), axis)

    def transpose(self, x: Tensor, order: Sequence[int]) -> Tensor:
        return tf.transpose(x, order)

    def connected(self, x: Tensor, kernel: Matrix, bias: Any) -> Tensor:
        return tf.matmul(x, tf.constant(kernel.values), transpose_b=True) + bias


def formula(of: Callable[..., Tensor]) -> Operation:
    """A formula of one tensor as an operation, with the step's attributes as keywords."""
    return lambda step, inputs: of(TensorArithmetic(), inputs[0], **step.attributes)
