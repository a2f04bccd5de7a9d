"""Conv of volumes, (N, C, D, H, W), and Conv with a computed kernel."""

from dataclasses import replace
from typing import Any

import numpy as np

from edgepress.translate.layout import Layout, channels_last, plain
from edgepress.translate.ops.padding import padded, window
from edgepress.translate.plan import Quantisation, Weight
from edgepress.translate.planner import Constant, Node, Planner, Value, unsupported


def plan_conv_3d(node: Node, planner: Planner, kernel: Constant, codes: Quantisation | None) -> None:
    """Kernel (O, I, kD, kH, kW) → DHWIO; groups are convolved one by one, since TFLite has no such kernel.

    `codes` are those of the kernel's outputs.
    """
    value = planner.stored_as(node, planner.value(node.inputs[0]), channels_last(5))
    w = window(node, value, kernel.values.shape[2:])
    value, mode = padded(node, planner, value, w)
    groups = node.attributes.get("group", 1)
    options: dict[str, Any] = {"strides": w.strides, "dilations": w.dilations, "padding": mode}
    biases = planner.constant(node, 2).values if node.has_input(2) else None
    parts = []
    for number, values in enumerate(np.split(kernel.values, groups)):
        own = None if codes is None else _of_group(codes, number, groups)
        stored = Weight(np.transpose(values, (2, 3, 4, 1, 0)), quantisation=own)
        weights = {"kernel": stored}
        if biases is not None:
            weights["bias"] = Weight(np.split(biases.reshape(-1), groups)[number])
        if groups == 1:
            planner.emit(node, "conv_3d", (value,), channels_last(5), weights, **options)
            return
        part = _channels(node, planner, value, number, values.shape[1])
        parts.append(
            planner.emit_helper(node, "conv_3d", (part,), f"group{number}", part, weights, **options)
        )
    planner.emit(node, "concat", tuple(parts), channels_last(5), axis=4)


def _of_group(codes: Quantisation, number: int, groups: int) -> Quantisation:
    """The scales and zero points of one group's outputs."""
    scale, zeros = (np.split(each, groups)[number] for each in (codes.scale, codes.zero_points))
    return Quantisation(scale, zeros, codes.dtype)


def _channels(node: Node, planner: Planner, value: Value, number: int, count: int) -> Value:
    begin, end = (None,) * 4 + (number * count,), (None,) * 4 + ((number + 1) * count,)
    cut: dict[str, Any] = {"begin": begin, "end": end, "strides": (1,) * 5}
    part = planner.emit_between(node, "cut", value, f"channels{number}", **cut)
    return replace(part, shape=(*value.shape[:1], count, *value.shape[2:]))


def plan_conv_by_computed(node: Node, planner: Planner) -> None:
    """A kernel (O, I, kH, kW) that is computed is an operand, stored as (O, kH, kW, I)."""
    kernel = planner.value(node.inputs[1])
    if len(kernel.shape) != 4 or node.attributes.get("group", 1) != 1 or None in kernel.shape:
        name = node.inputs[1]
        raise unsupported(
            node, f"its input 1 ({name}) is not a constant; computed, it has 4 fixed sizes and no groups"
        )
    value = planner.stored_as(node, planner.value(node.inputs[0]), channels_last(4))
    kernel = planner.stored_as(node, kernel, Layout((0, 2, 3, 1)))
    w = window(node, value, tuple(int(size or 1) for size in kernel.shape[2:]))
    if max(w.strides) > 1 and max(w.dilations) > 1:
        raise unsupported(node, "its kernel is computed, and it has strides and dilations")
    value, mode = padded(node, planner, value, w)
    options: dict[str, Any] = {"strides": w.strides, "dilations": w.dilations, "padding": mode}
    operands, image = (value, kernel), channels_last(4)
    if not node.has_input(2):
        planner.emit(node, "conv_by", operands, image, **options)
        return
    result = planner.emit_helper(node, "conv_by", operands, "product", value, **options)
    shift = planner.stored_as(node, planner.value(node.inputs[2]), plain(1))
    planner.emit(node, "add", (result, shift), image)
