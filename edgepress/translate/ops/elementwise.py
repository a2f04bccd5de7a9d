"""Activations, and arithmetic of two operands with broadcasting."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgepress.translate.layout import Layout, channels_last, plain
from edgepress.translate.planner import Node, OpPlanner, Planner, Value, unsupported

_UNARY: Mapping[str, tuple[str, dict[str, Any]]] = {
    "Relu": ("relu", {}),
    "Sigmoid": ("sigmoid", {}),
    "Tanh": ("tanh", {}),
    "LeakyRelu": ("leaky_relu", {"alpha": 0.01}),
    "Elu": ("elu", {"alpha": 1.0}),
    "HardSigmoid": ("hard_sigmoid", {"alpha": 0.2, "beta": 0.5}),
    "HardSwish": ("hard_swish", {}),
    "Softplus": ("softplus", {}),
    "Exp": ("exp", {}),
    "Sqrt": ("sqrt", {}),
    "Neg": ("neg", {}),
    "Abs": ("abs", {}),
}
_NON_NEGATIVE = ("Relu", "Sigmoid", "HardSigmoid", "Softplus", "Exp", "Sqrt", "Abs")


def plan_unary(node: Node, planner: Planner) -> None:
    """An activation: any layout will do."""
    op, defaults = _UNARY[node.op]
    value = planner.value(node.inputs[0])
    given = {key: node.attributes.get(key, default) for key, default in defaults.items()}
    minimum = 0.0 if node.op in _NON_NEGATIVE else None
    planner.emit(node, op, (value,), value.layout, minimum=minimum, **given)


def plan_clip(node: Node, planner: Planner) -> None:
    """Bounds are attributes up to opset 6 and inputs from 11."""
    value = planner.value(node.inputs[0])
    low, high = (_bound(node, planner, i, key) for i, key in ((1, "min"), (2, "max")))
    planner.emit(node, "clip", (value,), value.layout, minimum=low, low=low, high=high)


def plan_softmax(node: Node, planner: Planner) -> None:
    """Over one stored axis; up to opset 12 ONNX's Softmax runs over all axes from the given one on."""
    value = planner.value(node.inputs[0])
    if value.layout.flattened:
        value = planner.stored_as(node, value, plain(2))
    axis = node.attributes.get("axis", 1 if planner.opset < 13 else -1) % len(value.shape)
    if planner.opset < 13 and any(size != 1 for size in value.shape[axis + 1 :]):
        raise unsupported(
            node, f"of opset {planner.opset} it runs over axes {axis} to {len(value.shape) - 1}"
        )
    stored = value.layout.position(axis)
    planner.emit(node, "softmax", (value,), value.layout, minimum=0.0, axis=stored)


def plan_binary(node: Node, planner: Planner) -> None:
    """x ∘ y, each computed or constant."""
    op = node.op.lower()
    constant = [name in planner.constants for name in node.inputs]
    if all(constant):
        raise unsupported(node, "both of its operands are constant; fold constants before the translation")
    if any(constant):
        value = planner.value(node.inputs[constant.index(False)])
        other = planner.operand_weight(planner.constant(node, constant.index(True)), value)
        planner.emit(node, op, (value,), value.layout, {"operand": other}, constant_first=constant[0])
        return
    left, right = _aligned(node, planner, *(planner.value(name) for name in node.inputs))
    planner.emit(node, op, (left, right), left.layout)


def plan_identity(node: Node, planner: Planner) -> None:
    """Identity, and what inference makes one: Dropout, a Cast to float32."""
    if node.op == "Cast" and node.attributes["to"] != 1:
        raise unsupported(node, "only a Cast to float32 is translated")
    if node.inputs[0] in planner.constants:
        source = planner.constants[node.inputs[0]]
        values = source.values.astype(np.float32) if node.op == "Cast" else source.values
        planner.constants[node.outputs[0]] = type(source)(values, source.initializer)
    else:
        planner.alias(node, planner.value(node.inputs[0]))


def _bound(node: Node, planner: Planner, index: int, key: str) -> float | None:
    if node.has_input(index):
        return float(planner.constant(node, index).values.item())
    return node.attributes.get(key)


def _aligned(node: Node, planner: Planner, left: Value, right: Value) -> tuple[Value, Value]:
    """Two computed operands in one layout; images meet in NHWC, operands of unlike rank in ONNX's order."""
    if left.layout == right.layout:
        return left, right
    rank = len(left.shape)
    common: Layout = channels_last(rank) if rank == 4 and len(right.shape) == 4 else plain(rank)
    other = common if len(right.shape) == rank else plain(len(right.shape))
    return planner.stored_as(node, left, common), planner.stored_as(node, right, other)


PLANNERS: dict[str, OpPlanner] = {
    **dict.fromkeys(_UNARY, plan_unary),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), plan_binary),
    **dict.fromkeys(("Identity", "Dropout", "Cast"), plan_identity),
    "Clip": plan_clip,
    "Softmax": plan_softmax,
}
