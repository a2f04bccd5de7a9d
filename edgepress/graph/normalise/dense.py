"""Sparse constants of a file, made dense: nothing here computes with sparse ones."""

import math
from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from edgepress.graph.normalise.limits import MAX_RANK, refuse
from edgepress.graph.normalise.tensors import check_tensor
from edgepress.graph.view import nested_graphs
from edgepress.text import one_line

_MOST = 2**24
"""Elements of all of them together, dense; or `_TIMES` as many as the file holds."""

_TIMES = 100


def make_dense(model: onnx.ModelProto) -> None:
    """Give sparse initializers and Constants all of their elements, in place, in branches and functions too.

    Raises:
        UnsupportedModelError: one is not as ONNX has it, or they would take far more room than the file.
    """
    room = _MOST - _in_graph(model.graph, _MOST)
    for function in model.functions:
        room -= _in_nodes(function.node, room)


def _in_graph(graph: onnx.GraphProto, room: int) -> int:
    taken = 0
    for sparse in graph.sparse_initializer:
        dense, elements = _dense(sparse, room - taken)
        graph.initializer.append(dense)
        taken += elements
    graph.ClearField("sparse_initializer")
    return taken + _in_nodes(graph.node, room - taken)


def _in_nodes(nodes: Iterable[onnx.NodeProto], room: int) -> int:
    taken = 0
    for node in nodes:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.type == onnx.AttributeProto.SPARSE_TENSOR:
                dense, elements = _dense(attribute.sparse_tensor, room - taken)
                taken += elements
                attribute.CopyFrom(onnx.helper.make_attribute("value", dense))
        for graph in nested_graphs(node):
            taken += _in_graph(graph, room - taken)
    return taken


def _dense(sparse: onnx.SparseTensorProto, room: int) -> tuple[TensorProto, int]:
    """The tensor, and how much of the room it takes beyond what its own elements allow."""
    name, dims = one_line(repr(sparse.values.name), 80), list(sparse.dims)
    check_tensor(sparse.values)
    check_tensor(sparse.indices)
    held = numpy_helper.to_array(sparse.values).reshape(-1)
    size = math.prod(dims)
    if not 0 < len(dims) <= MAX_RANK or min(dims) < 0 or size > room + _TIMES * held.size:
        refuse(f"the sparse tensor {name} declares the shape {dims}; {_MOST} elements are made dense")
    places = _places(sparse, held.size, dims)
    if places is None or (places.size and not 0 <= places.min() <= places.max() < size):
        refuse(f"the indices of the sparse tensor {name} do not lie in its shape {dims}")
    values = np.zeros(size, held.dtype)
    values[places] = held
    tensor = numpy_helper.from_array(values.reshape(dims), sparse.values.name)
    tensor.data_type = sparse.values.data_type
    return tensor, max(0, size - _TIMES * held.size)


def _places(sparse: onnx.SparseTensorProto, count: int, dims: list[int]) -> np.ndarray | None:
    """Where the elements lie in the flat tensor; None if the indices are no such."""
    if sparse.indices.data_type != TensorProto.INT64:
        return None
    indices = numpy_helper.to_array(sparse.indices)
    if indices.shape == (count,):
        return np.asarray(indices)
    if indices.shape != (count, len(dims)) or (indices < 0).any() or (indices >= np.array(dims)).any():
        return None
    return np.asarray(np.ravel_multi_index(tuple(indices.T), tuple(dims))) if count else np.zeros(0, np.int64)
