"""Reductions, and normalisations by statistics of the tensor itself."""

from collections.abc import Callable
from typing import Any

from edgepress.translate.operations.base import Table, Tensor, operand, unary
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


def _l1(value: Tensor, axes: Axes, keepdims: bool) -> Tensor:
    return tf.reduce_sum(tf.abs(value), axes, keepdims)


def _l2(value: Tensor, axes: Axes, keepdims: bool) -> Tensor:
    return tf.sqrt(tf.reduce_sum(value * value, axes, keepdims))


def _sum_square(value: Tensor, axes: Axes, keepdims: bool) -> Tensor:
    return tf.reduce_sum(value * value, axes, keepdims)


def _log_sum(value: Tensor, axes: Axes, keepdims: bool) -> Tensor:
    return tf.math.log(tf.reduce_sum(value, axes, keepdims))


def _log_sum_exp(value: Tensor, axes: Axes, keepdims: bool) -> Tensor:
    high = tf.reduce_max(value, axes, keepdims=True)
    total = tf.reduce_sum(tf.exp(value - high), axes, keepdims)
    return tf.math.log(total) + (high if keepdims else tf.squeeze(high, axes))


def _mean(value: Tensor, axes: Axes, keepdims: bool) -> Tensor:
    return tf.reduce_mean(value, axes, keepdims)


def _normalised(step: Step, inputs: list[Tensor]) -> Tensor:
    """(x − mean)/√(variance + epsilon)·scale + shift over `axes`; or, as `part` asks, mean or 1/√…."""
    a, value = step.attributes, inputs[0]
    mean = tf.reduce_mean(value, a["axes"], keepdims=True)
    if a["part"] == "mean":
        return mean
    centred = value - mean
    spread = tf.math.rsqrt(tf.reduce_mean(centred * centred, a["axes"], keepdims=True) + a["epsilon"])
    if a["part"] == "spread":
        return spread
    result = centred * spread
    if "scale" in step.weights:
        result = result * operand(step.weights["scale"])
    return result + operand(step.weights["shift"]) if "shift" in step.weights else result


def _lp_normalised(value: Tensor, axis: int, p: int) -> Tensor:
    """Where the norm is 0, ONNX's result is 0."""
    norm = (_l1 if p == 1 else _l2)(value, (axis,), True)
    return value / tf.where(norm > 0, norm, tf.ones_like(norm))


OPERATIONS: Table = {
    "mean": _reduction(_mean),
    "sum": _reduction(tf.reduce_sum),
    "maximum": _reduction(_maximum),
    "minimum": _reduction(_minimum),
    "product": _reduction(tf.reduce_prod),
    "l1": _reduction(_l1),
    "l2": _reduction(_l2),
    "sum_square": _reduction(_sum_square),
    "log_sum": _reduction(_log_sum),
    "log_sum_exp": _reduction(_log_sum_exp),
    "normalised": _normalised,
    "lp_normalised": unary(_lp_normalised),
}
