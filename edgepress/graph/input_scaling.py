"""Normalisation of a network's raw input, put into the layers that read it first.

A layer of a·x + c is a layer of x: its kernel takes the factor, its bias the summand. Where the layer pads,
its border of 0 stands for x = −c/a; there x + c/a stays, one operator on the raw input, and the layer takes
the rest. A border of −c/a in place of 0 would do, too, but LiteRT pads with other numbers than 0 more slowly
than it adds.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnx

from edgepress.graph.raw_input import Line, find_line, layers_of
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

_MOST_SUMMAND = 16.0
"""c of a larger magnitude would cost float32 digits: a layer of the raw input cancels it against its bias."""

_LIKE = 2.0
"""So much may factors of a kernel's inputs differ: int8 has one scale for all inputs of an output."""


Coded = Literal["per channel", "per tensor"] | None


@dataclass(frozen=True)
class Unscaled:
    """`model` takes its input with less arithmetic; `factors` multiply the kernels of these initializers.

    `centred` names what is left, x − `mean`; where nothing is, they are "" and None.
    """

    model: onnx.ModelProto
    factors: dict[str, float] = field(default_factory=dict)
    centred: str = ""
    mean: Array | None = None


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
    line = find_line(model, known, readers)
    if line is None or any(node.name in kept for node in line.nodes):
        return Unscaled(model)
    layers, bordered = layers_of(model, line, known, readers)
    if not layers or any(layer.name in kept for layer in layers):
        return Unscaled(model)
    uniform = line.factor.size == 1 or bool((line.factor == line.factor.flat[0]).all())
    magnitudes = np.abs(line.factor)
    if any(layer.input[1] in whole for layer in layers) and not (uniform and line.factor.flat[0] > 0):
        return Unscaled(model)
    if step and magnitudes.max() > _LIKE * magnitudes.min():
        return Unscaled(model)
    return _rewritten(model, line, layers, _left(line, bordered, step), coded)


def _left(line: Line, bordered: bool, step: float) -> Array:
    """What is still to subtract from the input; 0 where all goes into the layers."""
    mean = -line.summand / line.factor
    if not bordered and (step or np.abs(line.summand).max() <= _MOST_SUMMAND):
        return np.zeros_like(mean)
    return np.rint(mean / step) * step if step else mean


def _rewritten(
    model: onnx.ModelProto, line: Line, layers: list[onnx.NodeProto], left: Array, coded: Coded
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
