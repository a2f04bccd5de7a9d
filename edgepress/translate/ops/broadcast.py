"""Operations of several tensors that broadcast against each other, whatever their layouts."""

import math
from dataclasses import replace

import numpy as np

from edgepress.translate.layout import Layout, channels_last, plain
from edgepress.translate.planner import Node, OpPlanner, Planner, Value, target_sizes, unsupported

_BINARY = (
    "Add", "Sub", "Mul", "Div", "Pow", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And",
    "Or", "Xor", "BitwiseAnd", "BitwiseOr", "BitwiseXor",
)  # fmt: skip
_SEVERAL = {"Sum": "sum_of", "Max": "max_of", "Min": "min_of"}
_PAIRS = {"Sum": "add", "Max": "max", "Min": "min"}


def plan_binary(node: Node, planner: Planner) -> None:
    """x ∘ y, each computed or constant."""
    if source := _unchanged(node, planner):
        planner.alias(node, planner.value(source))
        return
    _plan_pair(node, planner, node.op.lower())


def plan_mod(node: Node, planner: Planner) -> None:
    """The remainder with the sign of the divisor or, with `fmod`, that of x."""
    _plan_pair(node, planner, "fmod" if node.attributes.get("fmod", 0) else "floor_mod")


def plan_shift(node: Node, planner: Planner) -> None:
    """Bits moved to the left or to the right."""
    _plan_pair(node, planner, f"shift_{node.attributes['direction'].lower()}")


_NEUTRAL = {"Mul": 1.0, "Add": 0.0, "Div": 1.0, "Sub": 0.0}


def _unchanged(node: Node, planner: Planner) -> str:
    """The operand that a factor of 1 or a summand of 0 leaves as it is, or ''."""
    operands = (0, 1) if node.op in ("Mul", "Add") else (1,)
    for index in operands if node.op in _NEUTRAL and node.outputs[0] not in planner.outputs else ():
        known, source = planner.constants.get(node.inputs[index]), node.inputs[1 - index]
        same = source not in planner.constants and planner.shape(source) == planner.shape(node.outputs[0])
        if known is not None and same and (known.values == _NEUTRAL[node.op]).all():
            return source
    return ""


def plan_several(node: Node, planner: Planner) -> None:
    """Sum, Max and Min of one or more operands."""
    if len(node.inputs) == 1:
        value = planner.value(node.inputs[0])
        planner.emit(node, "identity", (value,), value.layout, minimum=value.minimum)
    elif len(node.inputs) == 2:
        _plan_pair(node, planner, _PAIRS[node.op])
    else:
        values = aligned(node, planner, [planner.value(name) for name in node.inputs])
        planner.emit(node, _SEVERAL[node.op], tuple(values), _widest(values).layout)


def plan_where(node: Node, planner: Planner) -> None:
    """condition ? x : y."""
    values = aligned(node, planner, [planner.value(name) for name in node.inputs])
    planner.emit(node, "where", tuple(values), _widest(values).layout)


def _plan_pair(node: Node, planner: Planner, op: str) -> None:
    constant = [name in planner.constants for name in node.inputs]
    if any(constant) and not all(constant):
        value = planner.value(node.inputs[constant.index(False)])
        other = planner.constant(node, constant.index(True))
        if other.values.ndim <= len(value.shape):
            weight = planner.operand_weight(other, value)
            planner.emit(node, op, (value,), value.layout, {"operand": weight}, constant_first=constant[0])
            return
    operands = aligned(node, planner, [planner.value(name) for name in node.inputs])
    planner.emit(node, op, tuple(operands), _widest(operands).layout)


def aligned(node: Node, planner: Planner, values: list[Value]) -> list[Value]:
    """Operands in layouts that broadcast as ONNX's do: alike where the rank is, images in NHWC.

    An operand of lower rank is given the leading axes of size 1 that ONNX implies; one with a single
    element may stay as it is.
    """
    if len({value.layout for value in values}) == 1:
        return values
    rank = max(len(value.shape) for value in values)
    values = [
        ranked(node, planner, value) if rank > 2 or value.layout.flattened else value for value in values
    ]
    full = [value for value in values if len(value.shape) == rank and not _one(value)]
    common = common_layout(node, planner, full) if full else plain(rank)
    return [_stored_as(node, planner, value, common) for value in values]


def common_layout(node: Node, planner: Planner, values: list[Value]) -> Layout:
    """The layout, of those that operands of one rank have, in which the fewest elements have to move.

    Among equals the readers of the result decide, else NHWC.
    """
    weights: dict[Layout, int] = {}
    for value in values:
        weights[value.layout] = weights.get(value.layout, 0) + _elements(value)
    if len(weights) == 1:
        return values[0].layout
    wish, image = planner.wishes.of(node.outputs[0]), channels_last(len(values[0].shape))
    return max(weights, key=lambda one: (weights[one], one.order in wish, one == image, one.order))


def _elements(value: Value) -> int:
    return math.prod(size or 1 for size in value.shape)


def _stored_as(node: Node, planner: Planner, value: Value, layout: Layout) -> Value:
    rank, own = len(layout.order), len(value.shape)
    if own < rank and not _one(value) and layout != plain(rank):
        value = planner.stored_as(node, value, plain(own))
        shape = (*(1,) * (rank - own), *value.shape)
        if sum(size is None for size in shape) > 1:
            raise unsupported(node, f"more than one size of {value.name} {value.shape} is open")
        wide = planner.emit_between(node, "reshape", value, f"{value.name}.wide", shape=target_sizes(shape))
        value = replace(wide, shape=shape, layout=plain(rank))
    if len(value.shape) < rank:
        return value if _one(value) else planner.stored_as(node, value, plain(own))
    return planner.stored_as(node, value, layout)


def ranked(node: Node, planner: Planner, value: Value) -> Value:
    """The operand, in ONNX's order if it is a flattened image."""
    return planner.stored_as(node, value, plain(2)) if value.layout.flattened else value


def _one(value: Value) -> bool:
    return all(size == 1 for size in value.shape)


def _widest(values: list[Value]) -> Value:
    return max(values, key=lambda value: (len(value.shape), not _one(value)))


def plan_mean(node: Node, planner: Planner) -> None:
    """Mean of tensors: their sum, divided by their number."""
    values = aligned(node, planner, [planner.value(name) for name in node.inputs])
    widest = _widest(values)
    total = planner.emit_helper(node, "sum_of", tuple(values), "sum", widest)
    share = planner.operand_weight(planner.literal(np.array(1 / len(values), np.float32)), total)
    planner.emit(node, "mul", (total,), widest.layout, {"operand": share}, constant_first=False)


PLANNERS: dict[str, OpPlanner] = {
    **dict.fromkeys(_BINARY, plan_binary),
    **dict.fromkeys(_SEVERAL, plan_several),
    "Mod": plan_mod,
    "BitShift": plan_shift,
    "Where": plan_where,
    "Mean": plan_mean,
}
