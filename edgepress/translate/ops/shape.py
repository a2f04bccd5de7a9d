"""Operators that move or regroup elements without computing."""

import numpy as np
import onnx

from edgepress.translate.layout import Layout, channels_last, plain
from edgepress.translate.planner import Constant, Node, OpPlanner, Planner, Shape, Value, unsupported


def plan_reshape(node: Node, planner: Planner) -> None:
    """Flatten, Reshape, Squeeze and Unsqueeze, all by their inferred output shape."""
    value, target = planner.value(node.inputs[0]), planner.shape(node.outputs[0])
    if any(size is None for size in target[1:]):
        raise unsupported(node, f"its output shape {target} is not fixed")
    if (image := _flattened_image(value, target)) is not None:
        layout = Layout((0, 1), None if 1 in (image[0], image[1] * image[2]) else image)
        planner.emit(node, "reshape", (value,), layout, minimum=value.minimum, shape=_sizes(target))
        return
    value = planner.stored_as(node, value, plain(len(value.shape)))
    planner.emit(node, "reshape", (value,), plain(len(target)), minimum=value.minimum, shape=_sizes(target))


def plan_transpose(node: Node, planner: Planner) -> None:
    """Stored data stays where it is; only the meaning of its axes changes, until a reader objects."""
    value = planner.value(node.inputs[0])
    if value.layout.flattened:
        value = planner.stored_as(node, value, plain(2))
    order = node.attributes.get("perm", list(range(len(value.shape)))[::-1])
    layout = Layout(tuple(order.index(axis) for axis in value.layout.order))
    planner.alias(node, Value(value.name, planner.shape(node.outputs[0]), layout, value.minimum))


def plan_concat(node: Node, planner: Planner) -> None:
    """Operands meet in NHWC where they are images."""
    values = [planner.value(name) for name in node.inputs]
    rank = len(values[0].shape)
    layout = values[0].layout if len({v.layout for v in values}) == 1 else channels_last(rank)
    layout = plain(2) if layout.flattened else layout
    values = [planner.stored_as(node, value, layout) for value in values]
    lows = [v.minimum for v in values if v.minimum is not None]
    minimum = min(lows) if len(lows) == len(values) else None
    axis = layout.position(node.attributes["axis"])
    planner.emit(node, "concat", tuple(values), layout, minimum=minimum, axis=axis)


def plan_pad(node: Node, planner: Planner) -> None:
    """Constant padding; pads and value are attributes up to opset 10 and inputs from 11, axes from 18."""
    if node.attributes.get("mode", "constant") != "constant":
        raise unsupported(node, f"mode {node.attributes['mode']!r} has no translation")
    value = planner.value(node.inputs[0])
    if value.layout.flattened:
        value = planner.stored_as(node, value, plain(2))
    pads = _pads(node, planner, len(value.shape))
    fill = planner.constant(node, 2).values.item() if node.has_input(2) else node.attributes.get("value", 0.0)
    stored = tuple(pads[axis] for axis in value.layout.order)
    minimum = None if value.minimum is None else min(value.minimum, fill)
    planner.emit(node, "pad", (value,), value.layout, minimum=minimum, pads=stored, fill=fill)


def _pads(node: Node, planner: Planner, rank: int) -> list[tuple[int, int]]:
    """How much to add before and after each ONNX axis."""
    flat = planner.integers(node, 1) if node.has_input(1) else list(node.attributes["pads"])
    if min(flat, default=0) < 0:
        raise unsupported(node, f"its pads {flat} crop; expected none below 0")
    axes = planner.integers(node, 3) if node.has_input(3) else list(range(rank))
    pads = [(0, 0)] * rank
    for axis, before, after in zip(axes, flat[: len(axes)], flat[len(axes) :], strict=True):
        pads[axis] = (before, after)
    return pads


def plan_constant(node: Node, planner: Planner) -> None:
    """A Constant node is an initializer written elsewhere."""
    if "value" not in node.attributes:
        raise unsupported(node, "only its attribute `value` is translated")
    planner.constants[node.outputs[0]] = Constant(
        np.asarray(onnx.numpy_helper.to_array(node.attributes["value"]))
    )


def _flattened_image(value: Value, target: Shape) -> tuple[int, int, int] | None:
    """(C, H, W) if this makes (N, C·H·W) of an image stored as NHWC."""
    if value.layout != channels_last(4) or len(target) != 2 or None in value.shape[1:]:
        return None
    channels, height, width = (int(size or 0) for size in value.shape[1:])
    return (channels, height, width) if target[1] == channels * height * width else None


def _sizes(target: Shape) -> list[int]:
    return [-1 if size is None else size for size in target]


PLANNERS: dict[str, OpPlanner] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), plan_reshape),
    "Transpose": plan_transpose,
    "Concat": plan_concat,
    "Pad": plan_pad,
    "Constant": plan_constant,
}
