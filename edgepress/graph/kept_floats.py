"""Nodes of an int8 network that stay in floats because of what is joined, and outputs that int8 blurs.

Both are said in the model itself, so that whoever reads it later, a converter or a person, finds them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

_JOIN, _FOLLOWER, _OUTPUT = "in float32: ", "in float32 behind ", "in int8: "

_NAMED = 6
"""Operands that a reason lists."""

Bounds = tuple[float, float]


@dataclass(frozen=True)
class FloatJoin:
    """A join in floats: its node, what that does, and why its operands have no range in common."""

    node: str
    operator: str
    reason: str

    def __str__(self) -> str:
        return f"node {self.node!r} ({self.operator}) stays in float32: {self.reason}"


def joined_ranges(operands: Mapping[str, Bounds], worst: str = "", bits: int = 8) -> str:
    """The operands and their ranges, and what a common one leaves to `worst`, by default the narrowest."""
    low, high = min(0.0, *(b[0] for b in operands.values())), max(0.0, *(b[1] for b in operands.values()))
    worst = worst or min(operands, key=lambda name: _width(operands[name]))
    told = [f"{name!r} ({_span(bounds)})" for name, bounds in operands.items()]
    if len(told) > _NAMED:
        told[_NAMED:] = [f"{len(told) - _NAMED} more"]
    total = 2**bits
    codes = max(round(total * _width(operands[worst]) / ((high - low) or 1.0)), 1)
    return (
        f"it joins {', '.join(told)}; in one int{bits} range, {_span((low, high))}, "
        f"{worst!r} would keep {codes} of {total} codes"
    )


def _width(bounds: Bounds) -> float:
    return max(bounds[1], 0.0) - min(bounds[0], 0.0)


def _span(bounds: Bounds) -> str:
    return f"{bounds[0]:.4g}…{bounds[1]:.4g}"


def keep_float(node: onnx.NodeProto, reason: str) -> None:
    """Say that a join stays in floats, and why."""
    node.doc_string = _JOIN + reason


def follow(node: onnx.NodeProto, join: str) -> None:
    """Say that a node stays in floats as the join of that name does."""
    node.doc_string = _FOLLOWER + join


def stays_float(node: onnx.NodeProto) -> bool:
    """Whether `keep_float` or `follow` said so."""
    return bool(node.doc_string.startswith((_JOIN, _FOLLOWER)))


def float_joins(model: onnx.ModelProto) -> tuple[FloatJoin, ...]:
    """The joins that stay in floats, in the graph's order."""
    found = (node for node in model.graph.node if node.doc_string.startswith(_JOIN))
    return tuple(FloatJoin(n.name, n.op_type, n.doc_string.removeprefix(_JOIN)) for n in found)


def blur(output: onnx.ValueInfoProto, part: str) -> None:
    """Say that the codes of an output tell nothing apart in a part of it, an index as numpy writes it."""
    output.doc_string = _OUTPUT + part


def blurred_outputs(model: onnx.ModelProto) -> Sequence[str]:
    """A line for each output of which `blur` said so, with what to do."""
    outputs = [each for each in model.graph.output if each.doc_string.startswith(_OUTPUT)]
    return [
        f"output {each.name!r}: {each.name}{each.doc_string.removeprefix(_OUTPUT)} is one int8 code for all "
        "inputs that were tried, for its range is that of much larger numbers; give the network an output "
        "of its own for it, or do without int8"
        for each in outputs
    ]
