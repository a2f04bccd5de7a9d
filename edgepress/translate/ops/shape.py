"""Operators that regroup, reorder or join elements."""

from dataclasses import replace

import numpy as np

from edgepress.translate.layout import Layout, channels_last, plain, regrouped
from edgepress.translate.ops.broadcast import common_layout, ranked
from edgepress.translate.ops.sizes import elements, is_computed, result_sizes, vector
from edgepress.translate.planner import (
    Node,
    OpPlanner,
    Planner,
    Value,
    of_one_scale,
    target_sizes,
    unsupported,
)
from edgepress.translate.reading import Shape


def plan_reshape(node: Node, planner: Planner) -> None:
    """Flatten, Reshape, Squeeze and Unsqueeze, all by their inferred output shape."""
    if (known := planner.constants.get(node.inputs[0])) is not None:
        values = known.values.reshape([int(size or 1) for size in planner.shape(node.outputs[0])])
        codes = of_one_scale(known.quantisation)
        changed = replace(known, values=values, initializer=None, quantisation=codes)
        planner.constants[node.outputs[0]] = changed
        return
    value, target = planner.value(node.inputs[0]), planner.shape(node.outputs[0])
    if target.count(None) > 1:
        _plan_computed_reshape(node, planner, value, target)
        return
    if (image := _flattened_image(value, target)) is not None:
        layout = Layout((0, 1), None if 1 in (image[0], image[1] * image[2]) else image)
        _emit_reshape(node, planner, value, target, layout)
        return
    value = ranked(node, planner, value)
    found = regrouped(value.layout.order, value.shape, target, planner.wishes.of(node.outputs[0]))
    if found is None:
        value = planner.stored_as(node, value, plain(len(value.shape)))
        _emit_reshape(node, planner, value, target, plain(len(target)))
        return
    value = planner.stored_as(node, value, Layout(found[0]))
    _emit_reshape(node, planner, value, target, Layout(found[1]))


def _plan_computed_reshape(node: Node, planner: Planner, value: Value, target: Shape) -> None:
    """To sizes that are known only as the network runs."""
    if node.op != "Reshape" or not is_computed(node, planner, 1) or node.attributes.get("allowzero", 0):
        raise unsupported(node, f"its output shape {target} is not fixed")
    value = planner.stored_as(node, value, plain(len(value.shape)))
    sizes = vector(node, planner, elements(node, planner, 1), "sizes")
    shape = result_sizes(planner, node, range(len(target)))
    layout, low = plain(len(target)), value.minimum
    planner.emit(node, "reshaped", (value, sizes), layout, minimum=low, shape=shape)


def _emit_reshape(node: Node, planner: Planner, value: Value, target: Shape, layout: Layout) -> None:
    stored = target_sizes([target[axis] for axis in layout.order])
    planner.emit(node, "reshape", (value,), layout, minimum=value.minimum, shape=stored)


def plan_transpose(node: Node, planner: Planner) -> None:
    """Stored data stays where it is; only the meaning of its axes changes, until a reader objects."""
    if (known := planner.constants.get(node.inputs[0])) is not None:
        order = node.attributes.get("perm", list(range(known.values.ndim))[::-1])
        axis = order.index(known.axis % len(order)) if known.axis < len(order) else 0
        values = np.transpose(known.values, order)
        planner.constants[node.outputs[0]] = replace(known, values=values, initializer=None, axis=axis)
        return
    value = ranked(node, planner, planner.value(node.inputs[0]))
    order = node.attributes.get("perm", list(range(len(value.shape)))[::-1])
    layout = Layout(tuple(order.index(axis) for axis in value.layout.order))
    shape = planner.shape(node.outputs[0])
    planner.alias(node, Value(value.name, shape, layout, value.minimum, node.name))


def plan_concat(node: Node, planner: Planner) -> None:
    """Operands meet where the fewest elements have to move."""
    values = [ranked(node, planner, planner.value(name)) for name in node.inputs]
    layout = common_layout(node, planner, values)
    values = [planner.stored_as(node, value, layout) for value in values]
    lows = [v.minimum for v in values if v.minimum is not None]
    minimum = min(lows) if len(lows) == len(values) else None
    axis = layout.position(node.attributes["axis"])
    planner.emit(node, "concat", tuple(values), layout, minimum=minimum, axis=axis)


def plan_expand(node: Node, planner: Planner) -> None:
    """Axes of size 1 repeated, and leading axes added."""
    value, target = planner.value(node.inputs[0]), planner.shape(node.outputs[0])
    if len(target) > len(value.shape):
        value = planner.stored_as(node, value, plain(len(value.shape)))
        shape = (*(1,) * (len(target) - len(value.shape)), *value.shape)
        value = planner.reshaped(node, value, shape, f"{node.outputs[0]}.wide")
    multiples = [1 if one == to else to for one, to in zip(value.shape, target, strict=True)]
    if None in multiples:
        _plan_computed_expand(node, planner, value)
        return
    _emit_tile(node, planner, value, [int(m or 0) for m in multiples])


def _plan_computed_expand(node: Node, planner: Planner, value: Value) -> None:
    """To sizes that are known only as the network runs; where they say 1 the operand's own stay."""
    value = planner.stored_as(node, value, plain(len(value.shape)))
    wanted = elements(node, planner, 1)
    rank = len(value.shape)
    sizes = vector(node, planner, [*[1] * (rank - len(wanted)), *wanted], "sizes")
    shape = result_sizes(planner, node, range(rank))
    planner.emit(node, "expanded", (value, sizes), plain(rank), minimum=value.minimum, shape=shape)


def plan_tile(node: Node, planner: Planner) -> None:
    """The whole tensor repeated along its axes."""
    value = planner.value(node.inputs[0])
    if not is_computed(node, planner, 1):
        _emit_tile(node, planner, value, planner.integers(node, 1))
        return
    value = ranked(node, planner, value)
    counts, order = elements(node, planner, 1), value.layout.order
    multiples = vector(node, planner, [counts[axis] for axis in order], "multiples")
    shape = result_sizes(planner, node, order)
    planner.emit(node, "tiled", (value, multiples), value.layout, minimum=value.minimum, shape=shape)


def _emit_tile(node: Node, planner: Planner, value: Value, multiples: list[int]) -> None:
    value = ranked(node, planner, value)
    stored = tuple(multiples[axis] for axis in value.layout.order)
    planner.emit(node, "tile", (value,), value.layout, minimum=value.minimum, multiples=stored)


def _flattened_image(value: Value, target: Shape) -> tuple[int, int, int] | None:
    """(C, H, W) if this makes (N, C·H·W) of an image stored as NHWC."""
    if value.layout != channels_last(4) or len(target) != 2 or None in value.shape[1:]:
        return None
    channels, height, width = (int(size or 0) for size in value.shape[1:])
    return (channels, height, width) if target[1] == channels * height * width else None


PLANNERS: dict[str, OpPlanner] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), plan_reshape),
    "Transpose": plan_transpose,
    "Concat": plan_concat,
    "Expand": plan_expand,
    "Tile": plan_tile,
}
