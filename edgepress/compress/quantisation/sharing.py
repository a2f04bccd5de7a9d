"""Tensors that must have one range, because TFLite joins their codes without rescaling them.

Where the operands of a Concat differ in scale, LiteRT rescales with 8 bits of precision and ONNX Runtime with
24. Worse, TFLite's converter gives an operand that is a Relu left out, its codes beginning at 0, the scale of
the whole, and so loses the Relu.
"""

from collections.abc import Collection, Iterable, Mapping

import onnx

from edgepress.graph.kept_floats import stays_float
from edgepress.graph.view import (
    Array,
    attributes,
    initializers,
)

Ranges = Mapping[str, tuple[float, float]]

_JOINING = ("Concat", "Max", "Min", "ReduceMax", "ReduceMin", "Where", "Pad")
_MOVING = (
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "MaxPool", "AveragePool", "Slice", "Split",
    "Pad", "Resize", "Gather", "Expand", "Tile", "DepthToSpace", "SpaceToDepth", "LeakyRelu",
    "GatherND", "GatherElements", "Compress", "TopK", "Trilu",
)  # fmt: skip
"""What these make has the scale of what they take."""


def shared_ranges(
    model: onnx.ModelProto, ranges: Ranges, fixed: Collection[str]
) -> dict[str, tuple[float, float]]:
    """The ranges, but one for all tensors of a group: what all of them need, or what is fixed for one.

    What is moved from a tensor of a fixed range may hold more than that, such as the largest of a Tanh's:
    that is cut, as it is before it is moved. See `scale_groups`.
    """
    result = {**constant_ranges(model, _JOINING), **ranges}
    for group in scale_groups(model, result, fixed).values():
        if settled := [name for name in sorted(group) if name in fixed]:
            result |= dict.fromkeys(group, result[settled[0]])
            continue
        low, high = min(result[name][0] for name in group), max(result[name][1] for name in group)
        result |= dict.fromkeys(group, (low, high))
    return result


def scale_groups(
    model: onnx.ModelProto, names: Iterable[str], fixed: Collection[str], joining: bool = True
) -> dict[str, set[str]]:
    """For each of the names, those that get one scale with it: they are moved, pooled or joined.

    A tensor whose range is `fixed` is joined with no other, and what stays in floats has no scale.
    `joining` false leaves out what is joined.
    """
    groups = {name: {name} for name in names}
    nodes = [node for node in model.graph.node if not stays_float(node)]
    for node in nodes:
        if moves(model, node) or _passes_on_fixed(node, groups, fixed):
            _join(groups, [node.input[0], *node.output])
    for node in nodes if joining else ():
        if joins(model, node) and node.output[0] in groups:
            present = [name for name in (*node.input, *node.output) if name in groups]
            _join(groups, [name for name in present if groups[name].isdisjoint(fixed)])
    return groups


def joins(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    """Whether TFLite gives its operands and result one scale, and it does more than move one operand."""
    return node.op_type in _JOINING and not moves(model, node)


def _passes_on_fixed(node: onnx.NodeProto, groups: Mapping[str, set[str]], fixed: Collection[str]) -> bool:
    """Whether it gives what has a fixed range as it is, or clips it.

    ONNX Runtime leaves such a node out, and with it the codes ahead of it: in a scale other than the fixed
    one its Softmax gives 0 for the largest share. Elsewhere an Identity may requantise, for a join.
    """
    passing = ("Identity", "Dropout", "Relu", "Clip")
    return node.op_type in passing and not groups.get(node.input[0], set()).isdisjoint(fixed)


def _join(groups: dict[str, set[str]], names: list[str]) -> None:
    together = set[str]().union(*(groups[name] for name in names if name in groups))
    for name in together:
        groups[name] = together


def constant_ranges(model: onnx.ModelProto, readers: Collection[str]) -> dict[str, tuple[float, float]]:
    """The ranges of the constants that operators of these types read."""
    constants = initializers(model)
    read = {name for node in model.graph.node if node.op_type in readers for name in node.input}
    return {
        name: (float(constants[name].min()), float(constants[name].max()))
        for name in read & constants.keys()
        if constants[name].dtype.kind == "f"
    }


def moves(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    """Whether all that the node makes are elements of its operand, or between them, or 0."""
    if node.op_type not in _MOVING:
        return False
    if node.op_type != "Pad" or attributes(node).get("mode", "constant") != "constant":
        return True
    value: Array | None = initializers(model).get(node.input[2]) if len(node.input) > 2 else None
    return value is None or value.item() == 0
