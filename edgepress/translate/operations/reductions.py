"""Reductions, and normalisations by statistics of the tensor itself."""

from collections.abc import Callable
from typing import Any

from edgepress.translate import formulas
from edgepress.translate.operations.base import Table, Tensor, in_words, unary
from edgepress.translate.operations.tensors import TensorArithmetic, formula
from edgepress.translate.plan import Step
from edgepress.translate.tensorflow_setup import tf

Axes = tuple[int, ...]


def _reduction(reduce: Callable[..., Tensor]) -> Any:
    return unary(lambda value, axes, keepdims: reduce(value, axes, keepdims))


def _maximum(value: Tensor, axes: Axes, keepdims: bool) -> Tensor:
    reduce = tf.reduce_any if value.dtype == tf.bool else tf.reduce_max
    return reduce(value, axes, keepdims)


def _minimum(value: Tensor, axes: Axes, keepdims: bool) -> Tensor:
    reduce = tf.reduce_all if value.dtype == tf.bool else tf.reduce_min
    return reduce(value, axes, keepdims)


def _mean(value: Tensor, axes: Axes, keepdims: bool) -> Tensor:
    return tf.reduce_mean(value, axes, keepdims)


def _normalised(step: Step, inputs: list[Tensor]) -> Tensor:
    weights: dict[str, Any] = {part: weight.values for part, weight in step.weights.items()}
    return formulas.normalised(TensorArithmetic(), inputs[0], **step.attributes, **weights)


def _arg(choose: Callable[..., Tensor]) -> Any:
    def apply(value: Tensor, axis: int, keepdims: bool, last: bool) -> Tensor:
        if last:
            value = tf.reverse(value, [axis])
        place = choose(value, axis, tf.int64)
        if last:
            place = value.shape[axis] - 1 - place
        return tf.expand_dims(place, axis) if keepdims else place

    return unary(apply)


OPERATIONS: Table = {
    "arg_max": _arg(tf.argmax),
    "arg_min": _arg(tf.argmin),
    "cum_sum": in_words(unary(tf.cumsum)),
    "mean": _reduction(_mean),
    "sum": _reduction(tf.reduce_sum),
    "maximum": _reduction(_maximum),
    "minimum": _reduction(_minimum),
    "product": _reduction(tf.reduce_prod),
    "l1": formula(formulas.l1),
    "l2": formula(formulas.l2),
    "sum_square": formula(formulas.sum_square),
    "log_sum": formula(formulas.log_sum),
    "log_sum_exp": formula(formulas.log_sum_exp),
    "normalised": _normalised,
    "lp_normalised": formula(formulas.lp_normalised),
}
