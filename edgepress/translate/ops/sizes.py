"""Sizes and places that are known only as the network runs, and what is made of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgepress.translate.layout import plain
from edgepress.translate.ops.broadcast import ranked
from edgepress.translate.plan import Weight
from edgepress.translate.planner import Node, OpPlanner, Planner, Value, target_sizes, unsupported
from edgepress.translate.reading import Shape

Part = int | tuple[Value, int]
"""A number, or an element of a vector that is computed."""


def plan_shape(node: Node, planner: Planner) -> None:
    """The sizes of a tensor's axes from `start` to `end`, as they are when the network runs, as int64."""
    value = ranked(node, planner, planner.value(node.inputs[0]))
    axes = range(len(value.shape))[node.attributes.get("start", 0) : node.attributes.get("end")]
    places = tuple(value.layout.position(axis) for axis in axes)
    planner.emit(node, "sizes", (value,), plain(1), places=places, minimum=0)


def plan_size(node: Node, planner: Planner) -> None:
    """The number of elements, as int64."""
    planner.emit(node, "elements", (planner.value(node.inputs[0]),), plain(0), minimum=0)


def plan_range(node: Node, planner: Planner) -> None:
    """From a start, below a limit, in steps: three numbers, of which some are computed."""
    ends = tuple(planner.value(name) for name in node.inputs)
    start = planner.constants.get(node.inputs[0])
    low = None if start is None or start.values.item() < 0 else float(start.values.item())
    planner.emit(node, "range", ends, plain(1), minimum=low, shape=result_sizes(planner, node, (0,)))


def plan_constant_of_shape(node: Node, planner: Planner) -> None:
    """A tensor of computed sizes, full of one number."""
    given = node.attributes.get("value")
    value = np.zeros(1, np.float32) if given is None else np.asarray(_array(given))
    shape = planner.shape(node.outputs[0])
    dims = planner.value(node.inputs[0])
    fill = {"value": Weight(value.reshape(()))}
    order = range(len(shape))
    planner.emit(node, "full", (dims,), plain(len(shape)), fill, shape=result_sizes(planner, node, order))


def _array(tensor: Any) -> Any:
    from onnx import numpy_helper

    return numpy_helper.to_array(tensor)


def is_computed(node: Node, planner: Planner, index: int) -> bool:
    """Whether the node has this operand, and it is no constant."""
    return node.has_input(index) and node.inputs[index] not in planner.constants


def elements(node: Node, planner: Planner, index: int) -> list[Part]:
    """The elements of a vector that is an operand, as far as they are known.

    Raises:
        UnsupportedModelError: how many it has is not known.
    """
    name = node.inputs[index]
    if name in planner.constants:
        return [int(each) for each in planner.constants[name].values.reshape(-1)]
    value = planner.value(name)
    length = value.shape[0] if value.shape else 1
    if length is None:
        raise unsupported(node, f"how many numbers its input {index} ({name}) has is not known")
    return [(value, place) for place in range(length)]


def vector(node: Node, planner: Planner, parts: Sequence[Part], suffix: str) -> Value:
    """A helper step: the numbers as one vector of int32."""
    sources = list(dict.fromkeys(part[0] for part in parts if not isinstance(part, int)))
    numbers = tuple(part if isinstance(part, int) else (sources.index(part[0]), part[1]) for part in parts)
    like = Value(node.outputs[0], (len(parts),), plain(1))
    return planner.emit_helper(node, "vector", tuple(sources), suffix, like, parts=numbers)


def result_sizes(planner: Planner, node: Node, order: Sequence[int], index: int = 0) -> tuple[int, ...]:
    """The stored sizes of an output, −1 for what nothing tells before the network runs."""
    shape: Shape = planner.shape(node.outputs[index])
    return tuple(target_sizes([shape[axis] for axis in order]))


PLANNERS: dict[str, OpPlanner] = {
    "Shape": plan_shape,
    "Size": plan_size,
    "Range": plan_range,
    "ConstantOfShape": plan_constant_of_shape,
}
