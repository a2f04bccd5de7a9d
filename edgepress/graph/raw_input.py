"""The arithmetic right behind a network's raw input, and the layers that read what it makes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx

from edgepress.graph.shapes import inferred_infos
from edgepress.graph.view import Array, attributes

_LINES = ("Add", "Sub", "Mul", "Div")
_LAYERS = ("Conv", "Gemm", "MatMul")
_MOVES = (
    "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Pad", "QuantizeLinear",
    "DequantizeLinear",
)  # fmt: skip


def moved_input(model: onnx.ModelProto) -> set[str]:
    """The first input, and what holds nothing but its numbers, moved or quantised."""
    raw = {model.graph.input[0].name}
    for node in model.graph.node:
        if node.op_type in _MOVES and node.input[0] in raw:
            raw.add(node.output[0])
    return raw


@dataclass
class Line:
    """The tensor `name`, which is factor·x + summand, each of its `rank`, and the nodes that compute it."""

    name: str
    rank: int
    factor: Array
    summand: Array
    nodes: list[onnx.NodeProto] = field(default_factory=list)


def find_line(
    model: onnx.ModelProto, known: Mapping[str, Array], readers: Mapping[str, list[onnx.NodeProto]]
) -> Line | None:
    """The arithmetic behind the first input that one node after the other reads alone."""
    name, infos = model.graph.input[0].name, inferred_infos(model)
    shown = {output.name for output in model.graph.output}
    rank = len(infos[name].type.tensor_type.shape.dim)
    line = Line(name, rank, np.ones((1,) * rank), np.zeros((1,) * rank))
    while line.name not in shown and len(readers[line.name]) == 1:
        node = readers[line.name][0]
        if node.op_type in _LINES:
            wider = _sizes(infos, node.output[0]) != _sizes(infos, line.name)
            if wider or not _add(line, node, known):
                break
            line.nodes.append(node)
        elif node.op_type == "Transpose":
            perm = attributes(node).get("perm", list(range(rank))[::-1])
            line.factor, line.summand = line.factor.transpose(perm), line.summand.transpose(perm)
        elif not _add_depthwise(line, node, known):
            break
        else:
            line.nodes.append(node)
        line.name = node.output[0]
    if not line.nodes or not np.isfinite(line.summand).all() or not line.factor.all():
        return None
    if all((each == each.flat[0]).all() for each in (line.factor, line.summand)):
        line.factor, line.summand = (
            np.full((1,) * rank, each.flat[0]) for each in (line.factor, line.summand)
        )
    return line if np.isfinite(line.factor).all() else None


def _sizes(infos: Mapping[str, onnx.ValueInfoProto], name: str) -> list[int | str]:
    """With the name of an open one; none at all where the rank is unknown."""
    dims = infos[name].type.tensor_type.shape.dim if name in infos else ()
    return [dim.dim_value or dim.dim_param for dim in dims]


def _add(line: Line, node: onnx.NodeProto, known: Mapping[str, Array]) -> bool:
    """Take the node's constant in; False where it is none, or differs along the batch or two axes."""
    index = 1 if node.input[0] == line.name else 0
    values = known.get(node.input[index])
    if (
        values is None
        or values.dtype != np.float32
        or values.ndim > line.rank
        or node.input[1 - index] != line.name
    ):
        return False
    constant = values.astype(np.float64).reshape((1,) * (line.rank - values.ndim) + values.shape)
    wide = np.broadcast_shapes(constant.shape, line.factor.shape)
    if sum(size > 1 for size in wide) > 1 or max(wide[:1], default=1) > 1:
        return False
    match node.op_type:
        case "Add":
            line.summand = line.summand + constant
        case "Sub":
            sign = 1 if index else -1
            line.factor, line.summand = sign * line.factor, sign * (line.summand - constant)
        case "Mul":
            line.factor, line.summand = line.factor * constant, line.summand * constant
        case _:
            if not index or not constant.all():
                return False
            line.factor, line.summand = line.factor / constant, line.summand / constant
    line.factor, line.summand = (np.broadcast_to(each, wide) for each in (line.factor, line.summand))
    return True


def _add_depthwise(line: Line, node: onnx.NodeProto, known: Mapping[str, Array]) -> bool:
    """Take in a factor and a summand for each channel, as quantisation writes them."""
    kernel, given = known.get(node.input[1]) if node.op_type == "Conv" else None, attributes(node)
    if kernel is None or kernel.shape != (len(kernel), 1, 1, 1) or given.get("group", 1) != len(kernel):
        return False
    moving = any(given.get("pads", ())) or any(each != 1 for each in given.get("strides", ()))
    bias = known.get(node.input[2]) if len(node.input) > 2 else np.zeros(len(kernel))
    if moving or bias is None or len(kernel) == 1 or line.rank != 4:
        return False
    shape = (1, -1, 1, 1)
    wide = np.broadcast_shapes((1, len(kernel), 1, 1), line.factor.shape)
    if sum(size > 1 for size in wide) > 1:
        return False
    factor, summand = (each.astype(np.float64).reshape(shape) for each in (kernel, bias))
    line.factor, line.summand = line.factor * factor, line.summand * factor + summand
    return True


def layers_of(
    model: onnx.ModelProto,
    line: Line,
    known: Mapping[str, Array],
    readers: Mapping[str, list[onnx.NodeProto]],
) -> tuple[list[onnx.NodeProto], bool]:
    """The layers that read the line, and whether one of them has a border; none if others read it, too."""
    shown, one = {output.name for output in model.graph.output}, line.factor.size == line.summand.size == 1
    layers, bordered, names = list[onnx.NodeProto](), False, [line.name]
    for name in names:  # it grows on the way
        if name in shown or not readers[name]:
            return [], False
        for node in readers[name]:
            if node.op_type in ("Reshape", "Flatten", "Identity") and node.input[0] == name and one:
                names.append(node.output[0])
            elif node.op_type == "Pad" and _pads_zeros(node, known) and node.input[0] == name:
                names.append(node.output[0])
                bordered = True
            elif _takes(node, name, line, known, readers):
                layers.append(node)
                bordered |= _has_border(node)
            else:
                return [], False
    return layers, bordered


def _takes(
    node: onnx.NodeProto,
    name: str,
    line: Line,
    known: Mapping[str, Array],
    readers: Mapping[str, list[onnx.NodeProto]],
) -> bool:
    """Whether the node is a layer whose kernel, its own, has an input for each number of the line."""
    if node.op_type not in _LAYERS or list(node.input).count(name) != 1 or node.input[0] != name:
        return False
    kernel, bias = known.get(node.input[1]), node.input[2] if len(node.input) > 2 else ""
    if kernel is None or kernel.dtype != np.float32 or len(readers[node.input[1]]) != 1:
        return False
    if not _is_plain(node) or (bias and bias not in known) or (node.op_type == "MatMul" and kernel.ndim != 2):
        return False
    axis = 1 if node.op_type == "Conv" else line.rank - 1
    return line.factor.size in (1, line.factor.shape[axis])


def _is_plain(node: onnx.NodeProto) -> bool:
    """Whether a Gemm has no factors, and does not turn its first operand."""
    given = attributes(node)
    return not given.get("transA", 0) and given.get("alpha", 1.0) == given.get("beta", 1.0) == 1.0


def _has_border(node: onnx.NodeProto) -> bool:
    given = attributes(node)
    return any(given.get("pads", ())) or str(given.get("auto_pad", "")).startswith("SAME")


def _pads_zeros(node: onnx.NodeProto, known: Mapping[str, Array]) -> bool:
    if attributes(node).get("mode", "constant") != "constant":
        return False
    given = known.get(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
    return given is not None and not bool(given.any())
