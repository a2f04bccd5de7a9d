"""Constant tensors of a file: their bytes must be those that type and shape announce."""

import math
from collections.abc import Iterator

import onnx
from onnx import TensorProto

from edgepress.graph.normalise.limits import MAX_ELEMENTS, MAX_RANK, refuse
from edgepress.graph.view import all_nodes, nested_graphs
from edgepress.text import one_line

_BITS = {
    TensorProto.FLOAT: 32, TensorProto.UINT8: 8, TensorProto.INT8: 8, TensorProto.UINT16: 16,
    TensorProto.INT16: 16, TensorProto.INT32: 32, TensorProto.INT64: 64, TensorProto.BOOL: 8,
    TensorProto.FLOAT16: 16, TensorProto.DOUBLE: 64, TensorProto.UINT32: 32, TensorProto.UINT64: 64,
    TensorProto.BFLOAT16: 16, TensorProto.UINT4: 4, TensorProto.INT4: 4,
}  # fmt: skip
_FIELDS = {
    TensorProto.FLOAT: "float_data", TensorProto.DOUBLE: "double_data", TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data", TensorProto.UINT64: "uint64_data",
}  # fmt: skip


def tensor_bytes(tensor: TensorProto) -> int:
    """The bytes that a tensor's type and shape announce.

    Raises:
        UnsupportedModelError: the type is unknown, or a dimension is negative or too large.
    """
    name, dims = one_line(repr(tensor.name), 80), list(tensor.dims)
    if tensor.data_type not in _BITS:
        refuse(f"tensor {name} has data type {tensor.data_type}, which is text or unknown")
    if min(dims, default=0) < 0 or len(dims) > MAX_RANK or math.prod(dims) > MAX_ELEMENTS:
        refuse(f"tensor {name} declares the shape {dims}; expected sizes from 0 to {MAX_ELEMENTS} elements")
    bits: int = math.prod(dims) * _BITS[tensor.data_type]
    return -(-bits // 8)


def check_tensor(tensor: TensorProto) -> None:
    """Refuse a tensor whose data does not fill its shape.

    Raises:
        UnsupportedModelError: it has too few or too many bytes or elements.
    """
    wanted, name = tensor_bytes(tensor), one_line(repr(tensor.name), 80)
    if tensor.data_location == TensorProto.EXTERNAL:
        refuse(f"tensor {name} has external data where none is allowed")
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != wanted:
            refuse(
                f"tensor {name} of shape {list(tensor.dims)} has {len(tensor.raw_data)} bytes, not {wanted}"
            )
        return
    held, elements = len(getattr(tensor, _FIELDS.get(tensor.data_type, "int32_data"))), math.prod(tensor.dims)
    packed = -(-elements // 2) if _BITS[tensor.data_type] == 4 else elements
    if held != packed:
        refuse(f"tensor {name} of shape {list(tensor.dims)} has {held} elements, not {packed}")


def attribute_tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """The tensors in attributes of nodes, as `Constant` has them, and those of graphs in attributes."""
    for node in all_nodes(model.graph):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        for graph in nested_graphs(node):
            yield from graph.initializer
