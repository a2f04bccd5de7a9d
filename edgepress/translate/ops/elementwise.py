"""Activations: functions of one tensor, element by element, that any layout suits."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgepress.translate.ops.broadcast import aligned, ranked
from edgepress.translate.planner import Constant, Node, OpPlanner, Planner, Value, unsupported

_UNARY: Mapping[str, tuple[str, dict[str, Any]]] = {
    "Relu": ("relu", {}),
    "Sigmoid": ("sigmoid", {}),
    "Tanh": ("tanh", {}),
    "LeakyRelu": ("leaky_relu", {"alpha": 0.01}),
    "Elu": ("elu", {"alpha": 1.0}),
    "Selu": ("selu", {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}),
    "Celu": ("celu", {"alpha": 1.0}),
    "HardSwish": ("hard_swish", {}),
    "Mish": ("mish", {}),
    "Softplus": ("softplus", {}),
    "Softsign": ("softsign", {}),
    "Erf": ("erf", {}),
    "Exp": ("exp", {}),
    "Log": ("log", {}),
    "Sqrt": ("sqrt", {}),
    "Reciprocal": ("reciprocal", {}),
    "Neg": ("neg", {}),
    "Abs": ("abs", {}),
    "Floor": ("floor", {}),
    "Ceil": ("ceil", {}),
    "Not": ("not", {}),
    "Sin": ("sin", {}),
    "Cos": ("cos", {}),
    "Atan": ("atan", {}),
    "Round": ("round", {}),
    "Sign": ("sign", {}),
    "BitwiseNot": ("bitwise_not", {}),
}
_NON_NEGATIVE = ("Relu", "Sigmoid", "HardSigmoid", "Softplus", "Exp", "Sqrt", "Abs")
_CASTS = (
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float16", "bfloat16", "float32",
    "float64",
)  # fmt: skip
"""What LiteRT's CAST takes and makes: all types of numbers but uint64."""


def plan_unary(node: Node, planner: Planner) -> None:
    """An activation: any layout will do."""
    op, defaults = _UNARY[node.op]
    value = planner.value(node.inputs[0])
    given = {key: node.attributes.get(key, default) for key, default in defaults.items()}
    minimum = 0.0 if node.op in _NON_NEGATIVE else None
    planner.emit(node, op, (value,), value.layout, minimum=minimum, **given)


def plan_hard_sigmoid(node: Node, planner: Planner) -> None:
    """A sixth of a ReLU6, which TFLite fuses into the layer before it, and 6·beta too if alpha is 1/6."""
    value, a = planner.value(node.inputs[0]), node.attributes
    slope, shift = 6 * a.get("alpha", 0.2), 6 * a.get("beta", 0.5)
    if not math.isclose(slope, 1.0, rel_tol=1e-6):
        value = _with_number(node, planner, "mul", value, slope, "scaled")
    value = _with_number(node, planner, "add", value, shift, "shifted")
    value = planner.emit_between(node, "clip", value, "clipped", low=0.0, high=6.0)
    sixth = planner.operand_weight(planner.literal(np.array(1 / 6, np.float32)), value)
    planner.emit(node, "mul", (value,), value.layout, {"operand": sixth}, 0.0, constant_first=False)


def _with_number(node: Node, planner: Planner, op: str, value: Value, number: float, suffix: str) -> Value:
    weights = {"operand": planner.operand_weight(planner.literal(np.array(number, np.float32)), value)}
    return planner.emit_helper(node, op, (value,), suffix, value, weights, constant_first=False)


def plan_gelu(node: Node, planner: Planner) -> None:
    """Exact, by erf, or approximated by tanh, as the node says."""
    value = planner.value(node.inputs[0])
    approximate = node.attributes.get("approximate", "none") == "tanh"
    planner.emit(node, "gelu", (value,), value.layout, approximate=approximate)


def plan_clip(node: Node, planner: Planner) -> None:
    """Bounds are attributes up to opset 10 and inputs from 11."""
    value = planner.value(node.inputs[0])
    low, high = (_bound(node, planner, i, key) for i, key in ((1, "min"), (2, "max")))
    if low is not None and high is not None and low > high:
        low = high  # then ONNX gives the upper bound everywhere
    planner.emit(node, "clip", (value,), value.layout, minimum=low, low=low, high=high)


def plan_prelu(node: Node, planner: Planner) -> None:
    """max(x, 0) + slope·min(x, 0), the slope broadcast to x."""
    value = planner.value(node.inputs[0])
    if node.inputs[1] in planner.constants:
        slope = planner.operand_weight(planner.constant(node, 1), value)
        planner.emit(node, "prelu", (value,), value.layout, {"slope": slope})
        return
    operands = aligned(node, planner, [value, planner.value(node.inputs[1])])
    planner.emit(node, "prelu", tuple(operands), operands[0].layout)


def plan_softmax(node: Node, planner: Planner) -> None:
    """Over one stored axis; up to opset 12 ONNX's runs over all axes from the given one on.

    TFLite's own needs the axis last, for which it takes two transposes; so what lies elsewhere is computed in
    parts, unless it is quantised.
    """
    value = ranked(node, planner, planner.value(node.inputs[0]))
    log, rank = node.op == "LogSoftmax", len(value.shape)
    axis = node.attributes.get("axis", 1 if planner.opset < 13 else -1) % rank
    minimum = None if log else 0.0
    several = planner.opset < 13 and any(size != 1 for size in value.shape[axis + 1 :])
    readers = {reader.op_type for reader in planner.readers[node.outputs[0]]}
    if several or not (readers == {"QuantizeLinear"} or _is_last(value, axis)):
        over = range(axis, rank) if several else [axis]
        axes = tuple(value.layout.position(one) for one in over)
        options: dict[str, Any] = {"axes": axes, "log": log}
        planner.emit(node, "softmax_over", (value,), value.layout, minimum=minimum, **options)
        return
    op = "log_softmax" if log else "softmax"
    planner.emit(node, op, (value,), value.layout, minimum=minimum, axis=value.layout.position(axis))


def _is_last(value: Value, axis: int) -> bool:
    """Whether only axes of size 1 are stored behind this one."""
    behind = value.layout.order[value.layout.position(axis) + 1 :]
    return all(value.shape[one] == 1 for one in behind)


def plan_identity(node: Node, planner: Planner) -> None:
    """Identity, and what inference makes one: Dropout."""
    if len(node.outputs) > 1 and node.outputs[1]:
        shape = [1 if size is None else size for size in planner.shape(node.inputs[0])]
        planner.constants[node.outputs[1]] = Constant(np.ones(shape, bool))
    if node.op == "Dropout" and node.has_input(2) and planner.constant(node, 2).values.any():
        raise unsupported(node, "it is in training mode; export the network in evaluation mode")
    _pass(node, planner)


def plan_cast(node: Node, planner: Planner) -> None:
    """Between the number types that LiteRT computes with."""
    source, target = (np.dtype(planner.dtype(n)).name for n in (node.inputs[0], node.outputs[0]))
    if source == target:
        _pass(node, planner)
        return
    if source not in _CASTS or target not in _CASTS:
        raise unsupported(node, f"it casts {source} to {target}; expected two of {', '.join(_CASTS)}")
    value = planner.value(node.inputs[0])
    planner.emit(node, "cast", (value,), value.layout, dtype=target)


def plan_bit_cast(node: Node, planner: Planner) -> None:
    """The same bits as numbers of another type, of as many bits."""
    value = planner.value(node.inputs[0])
    target = np.dtype(planner.dtype(node.outputs[0])).name
    planner.emit(node, "bit_cast", (value,), value.layout, dtype=target)


def _pass(node: Node, planner: Planner) -> None:
    if node.inputs[0] in planner.constants:
        planner.constants[node.outputs[0]] = planner.constants[node.inputs[0]]
    elif node.outputs[0] in planner.outputs:
        value = planner.value(node.inputs[0])
        planner.emit(node, "identity", (value,), value.layout, minimum=value.minimum)
    else:
        planner.alias(node, planner.value(node.inputs[0]))


def _bound(node: Node, planner: Planner, index: int, key: str) -> float | None:
    if node.has_input(index):
        return float(planner.constant(node, index).values.item())
    return node.attributes.get(key)


PLANNERS: dict[str, OpPlanner] = {
    **dict.fromkeys(_UNARY, plan_unary),
    **dict.fromkeys(("Softmax", "LogSoftmax"), plan_softmax),
    **dict.fromkeys(("Identity", "Dropout"), plan_identity),
    "Cast": plan_cast,
    "BitCast": plan_bit_cast,
    "Clip": plan_clip,
    "Gelu": plan_gelu,
    "HardSigmoid": plan_hard_sigmoid,
    "PRelu": plan_prelu,
}
