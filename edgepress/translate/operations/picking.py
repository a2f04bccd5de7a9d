"""Operations that pick elements by their value or by computed places."""

from typing import Any

from edgepress.translate.operations.base import Table, Tensor, unary
from edgepress.translate.plan import Step
from edgepress.translate.tensorflow_setup import tf


def _top_k(step: Step, inputs: list[Tensor]) -> list[Tensor]:
    """The smallest of whole numbers are the largest of their complements."""
    a, x = step.attributes, inputs[0]
    count = a["count"] if len(inputs) < 2 else tf.cast(tf.reshape(inputs[1], ()), tf.int32)
    if a["largest"]:
        values, places = tf.math.top_k(x, count)
        return [values, tf.cast(places, tf.int64)]
    values, places = tf.math.top_k(_opposite(x), count)
    return [_opposite(values), tf.cast(places, tf.int64)]


def _opposite(x: Tensor) -> Tensor:
    return -x if x.dtype.is_floating else tf.bitwise.invert(x)


def _one_hot(step: Step, inputs: list[Tensor]) -> Tensor:
    places, depth, on, off = inputs
    return tf.one_hot(places, depth, on, off, step.attributes["axis"], on.dtype)


def _places(value: Tensor) -> Tensor:
    return tf.where(value)


def _reversed(step: Step, inputs: list[Tensor]) -> Tensor:
    a = step.attributes
    return tf.reverse_sequence(inputs[0], inputs[1], seq_axis=a["time"], batch_axis=a["batch"])


def _scatter(step: Step, inputs: list[Tensor]) -> Tensor:
    return tf.scatter_nd(inputs[0], inputs[1], list(step.attributes["shape"]))


def _kept_boxes(step: Step, inputs: list[Tensor]) -> Tensor:
    boxes, scores, most, overlap, least = inputs
    kept: Any = tf.image.non_max_suppression(boxes, scores, most, overlap, least)
    return tf.cast(kept, tf.int64)


OPERATIONS: Table = {
    "top_k": _top_k,
    "one_hot": _one_hot,
    "places": unary(_places),
    "reverse_sequence": _reversed,
    "gather_nd": lambda step, inputs: tf.gather_nd(*inputs),
    "scatter_nd": _scatter,
    "kept_boxes": _kept_boxes,
}
