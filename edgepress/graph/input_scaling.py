"""Normalisation of a network's raw input, put into the layers that read it first.

A layer of a·x + c is a layer of x: its kernel takes the factor, its bias the summand. Where the layer pads,
its border of 0 stands for x = −c/a; there x + c/a stays, one operator on the raw input, and the layer takes
the rest. A border of −c/a in place of 0 would do, too, but LiteRT pads with other numbers than 0 more slowly
than it adds.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnx

from edgepress.graph.shapes import inferred_infos
from edgepress.graph.view import (
    Array,
    attributes,
    consumers,
    copy,
    initializers,
    remove_unused_initializers,
    replace_nodes,
    set_initializer,
)

_LINES = ("Add", "Sub", "Mul", "Div")
_LAYERS = ("Conv", "Gemm", "MatMul")
_MOST_SUMMAND = 16.0
"""c of a larger magnitude would cost float32 digits: a layer of the raw input cancels it against its bias."""

_LIKE = 2.0
"""So much may factors of a kernel's inputs differ: int8 has one scale for all inputs of an output."""


Coded = Literal["per channel", "per tensor"] | None


@dataclass(frozen=True)
class Unscaled:
    """`model` takes its input with less arithmetic; `factors` multiply the kernels of these initializers.

    `centred` names what is left, x − `mean`; where nothing is, that is None.
    """

    model: onnx.ModelProto
    factors: dict[str, float] = field(default_factory=dict)
    centred: str = ""
    mean: Array | None = None


@dataclass
class _Line:
    """The tensor `name`, which is factor·x + summand, each of its `rank`, and the nodes that compute it."""

    name: str
    rank: int
    factor: Array
    summand: Array
    nodes: list[onnx.NodeProto] = field(default_factory=list)


def without_scaling(
    model: onnx.ModelProto,
    step: float = 0.0,
    whole: Collection[str] = (),
    kept: Collection[str] = (),
    coded: Coded = None,
) -> Unscaled:
    """The model without what multiplies its first input, or adds to it, before the first layers.

    Args:
        model: float32, BatchNormalization folded.
        step: that of the input's codes, 0 without codes; what is left to subtract becomes a multiple of it.
        whole: initializers of kernels whose inputs may get one positive factor alone.
        kept: names of nodes that stay as they are.
        coded: how kernels become int8, so that the summand meets their codes.

    Returns:
        `model` itself where nothing can be done.
    """
    known, readers = initializers(model), consumers(model)
    line = _line(model, known, readers)
    if line is None or any(node.name in kept for node in line.nodes):
        return Unscaled(model)
    layers, bordered = _layers(model, line, known, readers)
    if not layers or any(layer.name in kept for layer in layers):
        return Unscaled(model)
    uniform = line.factor.size == 1 or bool((line.factor == line.factor.flat[0]).all())
    magnitudes = np.abs(line.factor)
    if any(layer.input[1] in whole for layer in layers) and not (uniform and line.factor.flat[0] > 0):
        return Unscaled(model)
    if step and magnitudes.max() > _LIKE * magnitudes.min():
        return Unscaled(model)
    return _rewritten(model, line, layers, _left(line, bordered, step), coded)


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


def _left(line: _Line, bordered: bool, step: float) -> Array:
    """What is still to subtract from the input; 0 where all goes into the layers."""
    mean = -line.summand / line.factor
    if not bordered and (step or np.abs(line.summand).max() <= _MOST_SUMMAND):
        return np.zeros_like(mean)
    return np.rint(mean / step) * step if step else mean


def _line(
    model: onnx.ModelProto, known: Mapping[str, Array], readers: Mapping[str, list[onnx.NodeProto]]
) -> _Line | None:
    """The arithmetic behind the first input that one node after the other reads alone."""
    name, infos = model.graph.input[0].name, inferred_infos(model)
    shown = {output.name for output in model.graph.output}
    rank = len(infos[name].type.tensor_type.shape.dim)
    line = _Line(name, rank, np.ones((1,) * rank), np.zeros((1,) * rank))
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


def _add(line: _Line, node: onnx.NodeProto, known: Mapping[str, Array]) -> bool:
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
    if sum(size > 1 for size in wide) > 1 or wide[0] > 1:
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


def _add_depthwise(line: _Line, node: onnx.NodeProto, known: Mapping[str, Array]) -> bool:
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


def _layers(
    model: onnx.ModelProto,
    line: _Line,
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
    line: _Line,
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


def _rewritten(
    model: onnx.ModelProto, line: _Line, layers: list[onnx.NodeProto], left: Array, coded: Coded
) -> Unscaled:
    changed, known = copy(model), initializers(model)
    centred = f"{model.graph.input[0].name}.centred" if left.any() else ""
    arithmetic = {node.output[0] for node in line.nodes}
    instead, nodes = dict[str, str](), list[onnx.NodeProto]()
    for node in changed.graph.node:
        node.input[:] = [instead.get(name, name) for name in node.input]
        if node.output[0] in arithmetic:
            instead[node.output[0]] = next(name for name in node.input if name not in known)
        else:
            nodes.append(node)
        if node.output[0] == line.name and centred:
            shift = f"{centred}.mean"
            set_initializer(changed, shift, -left.astype(np.float32))
            read = instead.get(line.name, line.name)
            nodes.append(onnx.helper.make_node("Add", [read, shift], [centred], centred))
            instead[line.name] = centred
    replace_nodes(changed, nodes)
    summand = line.summand + line.factor * left
    for layer in layers:
        _fold(changed, layer.output[0], line.factor, summand, coded)
    remove_unused_initializers(changed)
    factors = {layer.input[1]: float(line.factor.flat[0]) for layer in layers}
    return Unscaled(changed, factors, centred, left if centred else None)


def _fold(model: onnx.ModelProto, output: str, factor: Array, summand: Array, coded: Coded) -> None:
    """Let the layer that makes `output` take x for factor·x + summand."""
    layer = next(node for node in model.graph.node if node.output[0] == output)
    known = initializers(model)
    kernel, axes = known[layer.input[1]].astype(np.float64), _axes_of_inputs(layer, known[layer.input[1]])
    scaled = kernel * _along_inputs(layer, kernel, factor)
    met = _in_codes(scaled, axes if coded == "per channel" else None) if coded else scaled
    shift = (met * _along_inputs(layer, kernel, summand / factor)).sum(axes)
    set_initializer(model, layer.input[1], scaled.astype(np.float32))
    if not summand.any():
        return
    if layer.op_type == "MatMul":
        row, product = f"{output}.bias", f"{output}.product"
        set_initializer(model, row, shift.astype(np.float32))
        layer.output[0] = product
        place = next(i for i, node in enumerate(model.graph.node) if node.output[0] == product)
        add = onnx.helper.make_node("Add", [product, row], [output], row)
        replace_nodes(model, [*model.graph.node[: place + 1], add, *model.graph.node[place + 1 :]])
        return
    given = layer.input[2] if len(layer.input) > 2 else ""
    alone = given and len(consumers(model)[given]) == 1
    bias = given if alone else f"{output}.bias"
    set_initializer(model, bias, (shift + (known[given] if given else 0.0)).astype(np.float32))
    del layer.input[2:]
    layer.input.append(bias)


def _in_codes(kernel: Array, axes: tuple[int, ...] | None) -> Array:
    """What int8 makes of a kernel: the largest magnitude, of all or along `axes`, is code 127."""
    steps = np.abs(kernel).max(axes, keepdims=True) / 127
    rounded: Array = np.rint(kernel / np.where(steps > 0, steps, 1)) * steps
    return rounded


def _along_inputs(layer: onnx.NodeProto, kernel: Array, numbers: Array) -> Array:
    """One number, or one for each of the layer's inputs, as they meet its kernel."""
    each = numbers.reshape(-1)
    if each.size == 1:
        return each
    if layer.op_type == "Conv":
        groups = attributes(layer).get("group", 1)
        of_outputs = np.repeat(each.reshape(groups, -1), len(kernel) // groups, axis=0)
        return of_outputs.reshape(*kernel.shape[:2], *(1,) * (kernel.ndim - 2))
    return each if _axes_of_inputs(layer, kernel) == (1,) else each[:, np.newaxis]


def _axes_of_inputs(layer: onnx.NodeProto, kernel: Array) -> tuple[int, ...]:
    """The kernel's axes that the layer sums over."""
    if layer.op_type == "Conv":
        return tuple(range(1, kernel.ndim))
    return (1,) if attributes(layer).get("transB", 0) else (0,)
