"""What inputs a network declares."""

from typing import TYPE_CHECKING

import numpy as np
import onnx

from edgepress.datasets.samples import Entry
from edgepress.errors import UnsupportedModelError
from edgepress.text import shown

if TYPE_CHECKING:
    import onnxruntime as ort

_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int16)": "int16",
    "tensor(uint16)": "uint16",
    "tensor(int32)": "int32",
    "tensor(uint32)": "uint32",
    "tensor(int64)": "int64",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
}
"""ONNX Runtime's names of the types that data can have, and numpy's."""


def declared_entries(model: onnx.ModelProto) -> list[Entry]:
    """The inputs of a model, without initializers that may be overridden.

    Raises:
        UnsupportedModelError: one is no tensor of numbers.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    return [_entry(info) for info in model.graph.input if info.name not in constants]


def session_entries(session: "ort.InferenceSession") -> list[Entry]:
    """The inputs of a model in ONNX Runtime.

    Raises:
        UnsupportedModelError: as `declared_entries`.
    """
    found = []
    for info in session.get_inputs():
        if info.type not in _TYPES:
            raise _no_numbers(info.name, info.type)
        dims = tuple(size if isinstance(size, int) and size > 0 else None for size in info.shape)
        found.append(Entry(info.name, _TYPES[info.type], dims))
    return found


def _entry(info: onnx.ValueInfoProto) -> Entry:
    kind = info.type.tensor_type
    if info.type.WhichOneof("value") != "tensor_type" or kind.elem_type == onnx.TensorProto.STRING:
        raise _no_numbers(info.name, str(info.type.WhichOneof("value")))
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
    sizes = (dim.dim_value if dim.HasField("dim_value") else 0 for dim in kind.shape.dim)
    return Entry(info.name, dtype, tuple(size if size > 0 else None for size in sizes))


def _no_numbers(name: str, kind: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"the network's input {shown(name)!r} is {kind}; expected a tensor of numbers"
    )
