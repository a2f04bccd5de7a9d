"""Pools."""

import functools
import itertools
from typing import Any

from edgepress.translate.operations.base import Table, Tensor, in_words, operand, unary
from edgepress.translate.plan import Step
from edgepress.translate.tensorflow_setup import tf


def _max_pool(value: Tensor, size: Any, strides: Any, padding: str) -> Tensor:
    return tf.nn.max_pool2d(value, size, strides, padding)


def _average_pool(value: Tensor, size: Any, strides: Any, padding: str) -> Tensor:
    return tf.nn.avg_pool2d(value, size, strides, padding)


def _views(step: Step, value: Tensor) -> list[Tensor]:
    """For each place in the window, the elements that the windows have there, (N, *outputs, C)."""
    a = step.attributes
    views = []
    for place in itertools.product(*(range(k) for k in a["size"])):
        begin = [p * d for p, d in zip(place, a["dilations"], strict=True)]
        last = [b + (o - 1) * s + 1 for b, o, s in zip(begin, a["outputs"], a["strides"], strict=True)]
        cut = [slice(*span) for span in zip(begin, last, a["strides"], strict=True)]
        views.append(value[(slice(None), *cut, slice(None))])
    return views


def _max_of_views(step: Step, inputs: list[Tensor]) -> Tensor:
    return functools.reduce(tf.maximum, _views(step, inputs[0]))


def _sum_of_views(step: Step, inputs: list[Tensor]) -> Tensor:
    return functools.reduce(tf.add, _views(step, inputs[0])) * operand(step.weights["share"])


OPERATIONS: Table = {
    "max_pool": unary(_max_pool),
    "average_pool": unary(_average_pool),
    "max_of_views": in_words(_max_of_views),
    "sum_of_views": _sum_of_views,
}
