"""What the files here share."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from edgepress.translate.plan import Array, Step, Weight
from edgepress.translate.tensorflow_setup import tf

Tensor = Any
Operation = Callable[[Step, list[Tensor]], Tensor]
Table = Mapping[str, Operation]


def unary(operation: Callable[..., Tensor]) -> Operation:
    """An operation of one tensor, with the step's attributes as keywords."""
    return lambda step, inputs: operation(inputs[0], **step.attributes)


WORDS = {"int8": "int32", "uint8": "int32", "int16": "int32", "uint16": "int32", "uint32": "int64"}
"""Types that TFLite computes with only quantised, or not at all, and one that holds their numbers."""


def in_words(operation: Operation) -> Operation:
    """The operation on integers of few bits, or without a sign, computed in int32 or int64.

    A result of the same kind wraps around as theirs would.
    """

    def apply(step: Step, inputs: list[Tensor]) -> Tensor:
        small = inputs[0].dtype
        if small.name not in WORDS:
            return operation(step, inputs)
        wide = WORDS[small.name]
        words = {name: _in_words(weight) for name, weight in step.weights.items()}
        result = operation(replace(step, weights=words), [tf.cast(value, wide) for value in inputs])
        return tf.cast(result, small) if result.dtype == wide else result

    return apply


def _in_words(weight: Weight) -> Weight:
    wide = WORDS.get(weight.values.dtype.name)
    return weight if wide is None else replace(weight, values=weight.values.astype(wide))


def constant(values: Array) -> Tensor:
    """A constant; one number that was broadcast to a shape stays one number in the graph."""
    if values.size > 1 and not any(values.strides):
        return tf.constant(values.flat[0], shape=values.shape)
    return tf.constant(values)


def operand(weight: Weight) -> Tensor:
    """A constant operand, without its leading axes of size 1.

    TensorFlow's optimiser adds one behind a layer to the layer's bias, and fails where it has more axes.
    """
    shape = weight.values.shape
    first = next((axis for axis, size in enumerate(shape) if size != 1), len(shape))
    return tf.constant(weight.values.reshape(shape[first:]))


def binary(operation: Callable[[Tensor, Tensor], Tensor]) -> Operation:
    """An operation of two tensors, one of which may be the step's weight `operand`."""

    def apply(step: Step, inputs: list[Tensor]) -> Tensor:
        if "operand" not in step.weights:
            return operation(inputs[0], inputs[1])
        constant = operand(step.weights["operand"])
        if step.attributes["constant_first"]:
            return operation(constant, inputs[0])
        return operation(inputs[0], constant)

    return apply
