"""Half and double precision as float32: no runtime for edge devices computes in either."""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgepress.graph.normalise.tensors import attribute_tensors
from edgepress.graph.view import all_nodes, nested_graphs

_OTHERS = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
_TYPES = ("to", "dtype", "output_dtype", "stash_type")
"""The attributes that name a type of numbers."""


def compute_in_single(model: onnx.ModelProto, keep_types: bool = False) -> None:
    """Make every tensor of float16, bfloat16 or float64 one of float32, in place; casts and ends too.

    Numbers beyond float32's become its largest. With `keep_types` inputs and outputs have the types they had.
    """
    for tensor in [*model.graph.initializer, *attribute_tensors(model)]:
        if tensor.data_type in _OTHERS:
            largest = np.finfo(np.float32).max
            values = numpy_helper.to_array(tensor).astype(np.float64)
            finite = np.where(np.isfinite(values), np.clip(values, -largest, largest), values)
            tensor.CopyFrom(numpy_helper.from_array(finite.astype(np.float32), tensor.name))
    of_bits = {node.output[0] for node in model.graph.node if node.op_type == "BitCast" and keep_types}
    for node in all_nodes(model.graph):
        kept = bool(node.output) and node.output[0] in of_bits
        for attribute in node.attribute:
            if attribute.name in _TYPES and attribute.i in _OTHERS and not kept:
                attribute.CopyFrom(helper.make_attribute(attribute.name, int(TensorProto.FLOAT)))
        for graph in nested_graphs(node):
            _declare_single([*graph.input, *graph.output])
    if keep_types:
        _cast_at_ends(model)
    else:
        _declare_single([*model.graph.input, *model.graph.output])


def _declare_single(ends: list[onnx.ValueInfoProto]) -> None:
    for end in ends:
        if end.type.tensor_type.elem_type in _OTHERS:
            end.type.tensor_type.elem_type = TensorProto.FLOAT


def _cast_at_ends(model: onnx.ModelProto) -> None:
    """Casts behind inputs and before outputs of other types of floats."""
    before, behind = list[onnx.NodeProto](), list[onnx.NodeProto]()
    inner = dict[str, str]()
    for entry in model.graph.input:
        if entry.type.tensor_type.elem_type in _OTHERS:
            inner[entry.name] = f"{entry.name}.single"
            before.append(_cast(entry.name, inner[entry.name], TensorProto.FLOAT))
    entries = {entry.name for entry in model.graph.input}
    of_bits = {node.output[0] for node in model.graph.node if node.op_type == "BitCast"}
    for output in model.graph.output:
        if output.type.tensor_type.elem_type in _OTHERS and output.name not in entries:
            inner[output.name] = f"{output.name}.single"
            if output.name not in of_bits:
                kind = output.type.tensor_type.elem_type
                behind.append(_cast(inner[output.name], output.name, kind))
    nodes = before
    for node in model.graph.node:
        nodes.append(node)
        if node.op_type == "BitCast":  # whose bits are those of the ends' own types
            nodes.extend(_single_behind(node, inner))
    for node in all_nodes(model.graph):
        if node.op_type != "BitCast":
            for field in (node.input, node.output):
                field[:] = [inner.get(name, name) for name in field]
    nodes += behind
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _single_behind(node: onnx.NodeProto, inner: Mapping[str, str]) -> list[onnx.NodeProto]:
    """What others read of bits that are floats of another type."""
    if next(attribute.i for attribute in node.attribute if attribute.name == "to") not in _OTHERS:
        return []
    (name,) = node.output
    if name not in inner:
        node.output[0] = f"{name}.bits"
    return [_cast(node.output[0], inner.get(name, name), TensorProto.FLOAT)]


def _cast(source: str, result: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [result], f"{result}.cast", to=kind)
