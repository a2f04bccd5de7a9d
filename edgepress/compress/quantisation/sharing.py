"""Tensors that must have one range, because TFLite joins their codes without rescaling them.

Where the operands of a Concat differ in scale, LiteRT rescales with 8 bits of precision and ONNX Runtime with
24. Worse, TFLite's converter gives an operand that is a Relu left out, its codes beginning at 0, the scale of
the whole, and so loses the Relu.
"""

from collections.abc import Collection, Mapping

import onnx

from edgepress.graph.view import (
    Array,
    attributes,
    initializers,
)

Ranges = Mapping[str, tuple[float, float]]

_JOINING = ("Concat", "Max", "Min", "ReduceMax", "ReduceMin")
_MOVING = (
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "MaxPool", "AveragePool", "Slice", "Split",
    "Pad", "Resize", "Gather", "Expand", "Tile", "DepthToSpace", "SpaceToDepth",
)  # fmt: skip
"""What these make has the scale of what they take."""


def shared_ranges(
    model: onnx.ModelProto, ranges: Ranges, fixed: Collection[str]
) -> dict[str, tuple[float, float]]:
    """The ranges, but one for all tensors that a Concat or the like joins: what all of them need.

    A tensor whose range is `fixed` keeps it. Constant operands get ranges, too.
    """
    known = {**_constant_ranges(model), **ranges}
    groups = {name: {name} for name in known}
    for node in model.graph.node:
        if node.op_type in _MOVING and _moves(model, node):
            _join(groups, [node.input[0], *node.output])
    joining = [node for node in model.graph.node if node.op_type in _JOINING and node.output[0] in known]
    for node in joining:
        names = [name for name in (*node.input, *node.output) if name in groups]
        _join(groups, [name for name in names if groups[name].isdisjoint(fixed)])
    result = dict(ranges)
    for node in joining:
        group = groups[node.output[0]]
        low, high = min(known[name][0] for name in group), max(known[name][1] for name in group)
        result |= dict.fromkeys(group, (low, high))
    return result


def _join(groups: dict[str, set[str]], names: list[str]) -> None:
    together = set[str]().union(*(groups[name] for name in names if name in groups))
    for name in together:
        groups[name] = together


def _constant_ranges(model: onnx.ModelProto) -> dict[str, tuple[float, float]]:
    constants = initializers(model)
    joined = {name for node in model.graph.node if node.op_type in _JOINING for name in node.input}
    return {
        name: (float(constants[name].min()), float(constants[name].max()))
        for name in joined & constants.keys()
        if constants[name].dtype.kind == "f"
    }


def _moves(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    """Whether all that the node makes are elements of its operand, or between them, or 0."""
    if node.op_type != "Pad" or attributes(node).get("mode", "constant") != "constant":
        return True
    value: Array | None = initializers(model).get(node.input[2]) if len(node.input) > 2 else None
    return value is None or value.item() == 0
