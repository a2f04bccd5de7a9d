"""BatchNormalization, and normalisations by the tensor's own statistics."""

from typing import Any

import numpy as np

from edgepress.translate.layout import channels_last, flattened_rows
from edgepress.translate.ops.broadcast import ranked
from edgepress.translate.plan import Array, Weight
from edgepress.translate.planner import (
    Constant,
    Node,
    OpPlanner,
    Planner,
    Value,
    target_sizes,
    unsupported,
)

_PARTS = ("gamma", "beta", "mean", "variance")


def plan_batchnorm(node: Node, planner: Planner) -> None:
    """Inference form; the channel must be the last stored axis."""
    if node.attributes.get("training_mode", 0):
        raise unsupported(node, "it is in training mode; export the network in evaluation mode")
    value = planner.value(node.inputs[0])
    if value.layout.position(1) != len(value.shape) - 1:
        value = planner.stored_as(node, value, channels_last(len(value.shape)))
    rows = flattened_rows(value.layout.flattened) if value.layout.flattened else None
    weights = {}
    for index, part in enumerate(_PARTS, start=1):
        constant = planner.constant(node, index)
        values = constant.values if rows is None else constant.values[rows]
        weights[part] = Weight(values, constant.initializer, (0,), rows, constant.values.shape)
    epsilon = node.attributes.get("epsilon", 1e-5)
    planner.emit(node, "batch_norm", (value,), value.layout, weights, epsilon=epsilon)


def plan_instance_norm(node: Node, planner: Planner) -> None:
    """Over the image of each sample and channel; one scale and shift for each channel."""
    value = planner.value(node.inputs[0])
    shape = (-1, *(1,) * (len(value.shape) - 2))
    axes = tuple(sorted(value.layout.position(axis) for axis in range(2, len(value.shape))))
    weights = {}
    for index, part in enumerate(("scale", "shift"), start=1):
        constant = Constant(planner.constant(node, index).values.reshape(shape))
        weights[part] = planner.operand_weight(constant, value)
    _emit(node, planner, value, axes, weights)


def plan_layer_norm(node: Node, planner: Planner) -> None:
    """Over the axes from `axis` on; scale and shift have these axes' shape."""
    value = ranked(node, planner, planner.value(node.inputs[0]))
    first = node.attributes.get("axis", -1) % len(value.shape)
    axes = tuple(sorted(value.layout.position(axis) for axis in range(first, len(value.shape))))
    weights = {
        part: planner.operand_weight(planner.constant(node, index), value)
        for index, part in ((1, "scale"), (2, "shift"))
        if node.has_input(index)
    }
    _emit(node, planner, value, axes, weights)
    for index, part in ((1, "mean"), (2, "spread")):
        if len(node.outputs) > index and node.outputs[index]:
            _emit(node, planner, value, axes, {}, index, part)


def plan_group_norm(node: Node, planner: Planner) -> None:
    """Over the image and the channels of each group; scale and shift are of each group or channel.

    One group, or one for each channel, is normalised as it is stored; else the channels are split.
    """
    value = ranked(node, planner, planner.value(node.inputs[0]))
    rank, channels, groups = len(value.shape), int(value.shape[1] or 0), node.attributes["num_groups"]
    parts = {
        "scale": _for_channels(node, planner, 1, channels),
        "shift": _for_channels(node, planner, 2, channels),
    }
    if groups in (1, channels):
        axes = tuple(sorted(value.layout.position(axis) for axis in range(1 if groups == 1 else 2, rank)))
        columns = {part: Constant(values.reshape(-1, *(1,) * (rank - 2))) for part, values in parts.items()}
        weights = {part: planner.operand_weight(column, value) for part, column in columns.items()}
        _emit(node, planner, value, axes, weights)
        return
    value = planner.stored_as(node, value, channels_last(rank))
    elements = int(np.prod([size or 1 for size in value.shape[2:]]))
    shape = (value.shape[0], elements, groups, channels // groups)
    grouped = planner.reshaped(node, value, shape, f"{node.outputs[0]}.grouped")
    weights = {part: Weight(values.reshape(1, 1, groups, -1)) for part, values in parts.items()}
    options = _options(node, planner, (1, 3), "result")
    even = planner.emit_helper(node, "normalised", (grouped,), "even", grouped, weights, **options)
    stored = target_sizes([value.shape[axis] for axis in value.layout.order])
    planner.emit(node, "reshape", (even,), value.layout, shape=stored)


def _for_channels(node: Node, planner: Planner, index: int, channels: int) -> Array:
    """A constant of each group (opset 18) or channel (opset 21), for each channel."""
    values = planner.constant(node, index).values
    return np.repeat(values, channels // len(values))


def plan_lp_norm(node: Node, planner: Planner) -> None:
    """x / ‖x‖ along one axis, for the norms 1 and 2."""
    value = ranked(node, planner, planner.value(node.inputs[0]))
    axis = value.layout.position(node.attributes.get("axis", -1))
    planner.emit(node, "lp_normalised", (value,), value.layout, axis=axis, p=node.attributes.get("p", 2))


def _emit(
    node: Node,
    planner: Planner,
    value: Value,
    axes: tuple[int, ...],
    weights: dict[str, Weight],
    index: int = 0,
    part: str = "result",
) -> None:
    options = _options(node, planner, axes, part)
    planner.emit(node, "normalised", (value,), value.layout, weights, index=index, **options)


def _options(node: Node, planner: Planner, axes: tuple[int, ...], part: str) -> dict[str, Any]:
    epsilon = float(np.float32(node.attributes.get("epsilon", 1e-5)))
    return {"axes": axes, "epsilon": epsilon, "part": part}


PLANNERS: dict[str, OpPlanner] = {
    "BatchNormalization": plan_batchnorm,
    "InstanceNormalization": plan_instance_norm,
    "LayerNormalization": plan_layer_norm,
    "GroupNormalization": plan_group_norm,
    "LpNormalization": plan_lp_norm,
}
