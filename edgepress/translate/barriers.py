"""What keeps TFLite's converter from quantising a join that the network computes in floats.

The converter gives all operands and results of an operator that only moves or joins numbers one scale, and so
carries the scale of any of them on to the others. It stops at a change of sign, of which TFLite has no int8
kernel; −(−x) is x, exactly. Negations of all operands of a concatenation, or products of most, are moved
behind it, where they would cancel out; so the first operand is multiplied by −1, and the others are negated.
"""

from collections.abc import Sequence

import numpy as np

from edgepress.translate.layout import Layout
from edgepress.translate.planner import Node, Planner, Value

JOINS = ("Concat", "Max", "Min", "Where", "Pad")
"""ONNX operators whose operands and result have one scale in TFLite."""

_MOVING = (
    "reshape", "transpose", "cut", "gather", "pad", "mirrored", "tile", "depth_to_space", "space_to_depth",
    "resized", "max_pool", "average_pool", "identity",
)  # fmt: skip
"""Steps through which the converter carries a scale from operand to result, and back."""


def joins_in_floats(node: Node, planner: Planner) -> bool:
    """Whether this node of a quantised network joins codes as numbers: its result has no codes."""
    result = node.outputs[0]
    kinds = {reader.op_type for reader in planner.readers[result]}
    if not planner.quantised or "QuantizeLinear" in kinds or np.dtype(planner.dtype(result)) != np.float32:
        return False
    operands = [planner.values[name].name for name in node.inputs if name in planner.values]
    sources = [carried_from(planner, name) for name in operands]
    made = [planner.step_of(name) for name in sources]
    return not planner.joined_in_floats.isdisjoint(sources) or any(
        step is not None and step.op == "fake_quant" for step in made
    )


def emit_concat(node: Node, planner: Planner, values: Sequence[Value], layout: Layout, axis: int) -> None:
    """A concatenation in floats of operands whose signs are changed, and then changed back."""
    signs = ["times_minus_one", *("neg",) * (len(values) - 1)]
    turned = [
        planner.emit_between(node, sign, value, f"sign{i}")
        for i, (sign, value) in enumerate(zip(signs, values, strict=True))
    ]
    whole = Value("", planner.shape(node.outputs[0]), layout)
    joined = planner.emit_helper(node, "concat", tuple(turned), "joined", whole, axis=axis)
    planner.emit(node, "neg", (joined,), layout)
    planner.joined_in_floats.add(node.outputs[0])


def apart(node: Node, planner: Planner, values: Sequence[Value]) -> list[Value]:
    """The operands of another join in floats, cut off from the scales that they have."""
    planner.joined_in_floats.add(node.outputs[0])
    return [_cut_off(node, planner, value, f"apart{i}") for i, value in enumerate(values)]


def before_codes(node: Node, planner: Planner, value: Value) -> Value:
    """The operand of a quantisation, cut off from the join in floats that it is a part of, if it is one."""
    source = carried_from(planner, value.name) if planner.joined_in_floats else ""
    return _cut_off(node, planner, value, "apart") if source in planner.joined_in_floats else value


def _cut_off(node: Node, planner: Planner, value: Value, suffix: str) -> Value:
    turned = planner.emit_between(node, "times_minus_one", value, f"{suffix}.sign")
    return planner.emit_between(node, "neg", turned, suffix)


def carried_from(planner: Planner, name: str) -> str:
    """The tensor that this one was moved from."""
    while (made := planner.step_of(name)) is not None and made.op in _MOVING:
        name = made.inputs[0]
    return name
