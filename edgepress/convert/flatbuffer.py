"""What a finished `.tflite` holds, read back from the file rather than believed of the configuration.

The file is a FlatBuffer of LiteRT's schema; LiteRT's generated accessors read it, without TensorFlow. They
do not verify, so a damaged file can send them anywhere: every table and vector is reached through `_Reader`,
which bounds how many there may be, and whatever else the accessors raise becomes an ArtifactError.
"""

import math
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgepress.artifacts import broken, open_file, read_bytes
from edgepress.convert.tflite_model import NODES, Graph, Kernel, Operator, Tensor, TfliteModel
from edgepress.datasets.prepared import Array
from edgepress.files import mapped, parse_json

_IDENTIFIER = b"TFL3"
_MAX_TABLES = 200_000
"""Far more tensors, operators and buffers together than any model for an edge device has."""

MAX_TFLITE_BYTES = 2**36
"""Of a file whose constants lie outside of its FlatBuffer."""

_LARGEST_ENTRY = 2**24
"""Bytes of an entry of metadata; those of large files tell of single tensors."""

_MAPPED_BYTES = 2**26
_MAX_RANK = 16
_LONGEST_NAME = 10_000
_SHARED = 4
"""How often the bytes of a file may be read as constants; few models let tensors share a buffer at all."""

_CHANNEL_AXES = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}
"""The axis of output channels in the kernels, which are (O, H, W, I), (1, H, W, O) or (O, I)."""

_FLOATS = ("FLOAT16", "FLOAT32", "FLOAT64", "BFLOAT16")
_NUMPY_TYPES = {
    "FLOAT16": "<f2",
    "FLOAT32": "<f4",
    "INT8": "<i1",
    "UINT8": "<u1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
}
_NOWHERE = 1
"""A buffer's place in the file up to which it has none."""

_DAMAGE = (struct.error, ValueError, TypeError, IndexError, OverflowError, AttributeError, KeyError)


def tflite_metrics(path: Path) -> dict[str, Any]:
    """What `metrics/convert-tflite.json` tells of the file's inside.

    `weights` says whether their codes are executed or dequantised, `sparsity` is the share of zeros in all
    prunable kernels, `max_unique_weights` is the worst kernel's, and `parameters` counts the elements of
    kernels and their biases.

    Raises:
        ArtifactError: the file is absent or damaged.
    """
    model = read_tflite(path)
    prunable = [kernel for kernel in model.kernels if kernel.prunable]
    total = sum(kernel.values.size for kernel in prunable)
    return {
        "ops": len(model.operators),
        "transpose_ops": model.transpose_ops,
        "weights": model.weights,
        "float_tensors": len(model.float_tensors),
        "sparsity": sum(kernel.zeros for kernel in prunable) / total if total else 0.0,
        "max_unique_weights": max((kernel.unique_weights for kernel in model.kernels), default=0),
        "parameters": sum(kernel.values.size + kernel.biases for kernel in model.kernels),
    }


def read_tflite(path: Path) -> TfliteModel:
    """Read a `.tflite`; its arrays are views of the file's bytes.

    Raises:
        ArtifactError: the file is absent or damaged.
    """
    content = read_content(path)
    try:
        return _Reader(content).model()
    except _DAMAGE as error:
        raise broken(path, "a TFLite model", error) from error


def read_content(path: Path) -> bytes | memoryview:
    """The bytes of a `.tflite`; those of a large one are read when they are asked for.

    Raises:
        ArtifactError: as `edgepress.artifacts.read_bytes`.
    """
    with open_file(path, MAX_TFLITE_BYTES) as file:
        size = os.fstat(file.fileno()).st_size
        if size > _MAPPED_BYTES:
            return mapped(file, 0, size)[1]
    return read_bytes(path)


class _Reader:
    """Walks a file; raises ValueError, or what the accessors raise, where it is not sound."""

    def __init__(self, content: bytes | memoryview) -> None:
        if content[4:8] != _IDENTIFIER:
            raise ValueError(f"identifier {bytes(content[4:8])!r} instead of {_IDENTIFIER!r}")
        self._content = np.frombuffer(content, np.uint8)
        self._root = schema.Model.GetRootAs(content)
        self._room = min(len(content) // 4, _MAX_TABLES)
        self._elements = self._data = _SHARED * len(content)
        self._codes = [_code_name(code) for code in self._tables(self._root, "OperatorCodes")]
        self._buffers = [self._buffer(buffer) for buffer in self._tables(self._root, "Buffers")]

    def model(self) -> TfliteModel:
        """All subgraphs, as one model."""
        metadata = dict(self._metadata())
        nodes = _nodes(metadata.get(NODES, b""))
        graphs = [
            self._graph(graph, nodes if number == 0 else {})
            for number, graph in enumerate(self._tables(self._root, "Subgraphs"))
        ]
        if not graphs:
            raise ValueError("no subgraph")
        return TfliteModel(
            graphs=tuple(graphs),
            operators=tuple(operator.name for graph in graphs for operator in graph.operators),
            float_tensors=tuple(t.name for graph in graphs for t in graph.tensors if t.dtype in _FLOATS),
            kernels=tuple(_each_once(kernel for graph in graphs for kernel in _kernels(graph))),
            metadata=metadata,
            maker=self._name(self._root.Description() or b""),
            customs=tuple(
                name
                for name, code in zip(self._codes, self._tables(self._root, "OperatorCodes"), strict=True)
                if _is_custom(code)
            ),
        )

    def _tables(self, table: Any, field: str) -> Iterator[Any]:
        """The tables of a vector, as long as there is room for as many in the file."""
        length = getattr(table, f"{field}Length")()
        self._room -= length
        if self._room < 0:
            raise ValueError(f"{length} {field} are more than the file has room for")
        get: Callable[[int], Any] = getattr(table, field)
        return map(get, range(length))

    def _buffer(self, buffer: Any) -> Array:
        """The content of a buffer: in the FlatBuffer, or from a place of the file on."""
        offset, size = buffer.Offset(), buffer.Size()
        if offset <= _NOWHERE:
            return _array(buffer.DataAsNumpy(), np.uint8)
        if size > len(self._content) - offset:
            raise ValueError(f"a buffer of {size} bytes at {offset} ends behind the file")
        return self._content[offset : offset + size]

    def _metadata(self) -> Iterator[tuple[str, bytes]]:
        for entry in self._tables(self._root, "Metadata"):
            content = self._buffers[entry.Buffer()]
            if len(content) > _LARGEST_ENTRY:
                raise ValueError(f"an entry of metadata has {len(content):,} bytes")
            self._spend(len(content))
            yield self._name(entry.Name() or b""), content.tobytes()

    def _graph(self, graph: Any, nodes: Mapping[int, str]) -> Graph:
        tensors = [self._tensor(tensor) for tensor in self._tables(graph, "Tensors")]
        operators = [
            self._operator(each, tensors, nodes.get(place))
            for place, each in enumerate(self._tables(graph, "Operators"))
        ]
        ends = (graph.InputsAsNumpy(), graph.OutputsAsNumpy())
        return Graph(tensors, operators, *(self._indices(end, len(tensors)) for end in ends))

    def _tensor(self, tensor: Any) -> Tensor:
        name, dtype = self._name(tensor.Name() or b""), _TENSOR_TYPES[tensor.Type()]
        data, shape = self._buffers[tensor.Buffer()], self._numbers(tensor.ShapeAsNumpy())
        if len(shape) > _MAX_RANK:
            raise ValueError(f"a tensor has {len(shape)} axes; expected at most {_MAX_RANK}")
        self._data -= len(data)
        if self._data < 0:
            raise ValueError("its tensors have more constants than the file has room for")
        own, scales, zero_points = tensor.Quantization(), np.zeros(0, np.float32), np.zeros(0, np.int64)
        if own is not None:
            scales = _array(own.ScaleAsNumpy(), np.float32)
            zero_points = _array(own.ZeroPointAsNumpy(), np.int64)
            self._spend(len(scales) + len(zero_points))
        constant = _constant(name, dtype, data, shape) if len(data) else None
        signature = self._numbers(tensor.ShapeSignatureAsNumpy())
        return Tensor(name, dtype, shape, len(data) > 0, constant, scales, zero_points, signature)

    def _operator(self, operator: Any, tensors: Sequence[Tensor], nodes: str | None) -> Operator:
        vectors = (operator.InputsAsNumpy(), operator.OutputsAsNumpy())
        inputs, outputs = (self._indices(vector, len(tensors), lowest=-1) for vector in vectors)
        made = tensors[outputs[0]].name if outputs and outputs[0] >= 0 else ""
        return Operator(
            self._codes[operator.OpcodeIndex()], inputs, outputs, made if nodes is None else nodes
        )

    def _indices(self, vector: Any, tensors: int, lowest: int = 0) -> list[int]:
        """Indices of tensors; −1 is allowed where an operand may be left out."""
        found = self._numbers(vector)
        if not all(lowest <= index < tensors for index in found):
            raise ValueError(f"an operator or an end of the graph names a tensor that is not among {tensors}")
        return found

    def _numbers(self, vector: Any) -> list[int]:
        """A vector of integers; tables may point at the same one, so all of them together are bounded."""
        numbers = _array(vector, np.int32)
        self._spend(len(numbers))
        found: list[int] = numbers.tolist()
        return found

    def _name(self, name: Any) -> str:
        self._spend(len(name))
        if len(name) > _LONGEST_NAME:
            raise ValueError(f"a name has {len(name):,} bytes; expected at most {_LONGEST_NAME:,}")
        return str(name.decode())

    def _spend(self, elements: int) -> None:
        self._elements -= elements
        if self._elements < 0:
            raise ValueError("its vectors hold more than the file has room for")


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


_BUILTINS = _names(schema.BuiltinOperator)
_TENSOR_TYPES = _names(schema.TensorType)


def _nodes(content: bytes) -> dict[int, str]:
    """The entry `NODES`, as far as it is sound."""
    try:
        found = parse_json(content) if content else {}
    except ValueError:
        return {}
    known = found.items() if isinstance(found, dict) else ()
    return {int(key): str(told)[:_LONGEST_NAME] for key, told in known if key.isdecimal() and len(key) < 10}


def _is_custom(code: Any) -> bool:
    return bool(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) == schema.BuiltinOperator.CUSTOM)


def _code_name(code: Any) -> str:
    """The operator's name; old files hold its number in an 8-bit field only."""
    name = _BUILTINS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
    return code.CustomCode()[:_LONGEST_NAME].decode() if name == "CUSTOM" else name


def _array(vector: Any, dtype: type) -> Array:
    """A vector as an array; the accessors give the number 0 for one that is absent."""
    return vector if isinstance(vector, np.ndarray) else np.zeros(0, dtype)


def _constant(name: str, dtype: str, data: Array, shape: list[int]) -> Array | None:
    """A tensor's constant value; None for a type that no kernel here has.

    Raises:
        ValueError: the buffer's length does not fit the shape.
    """
    if dtype == "INT4":
        return _unpacked(name, data, shape)
    if dtype not in _NUMPY_TYPES:
        return None
    numpy_type = np.dtype(_NUMPY_TYPES[dtype])
    if min(shape, default=0) < 0 or math.prod(shape) * numpy_type.itemsize != len(data):
        raise ValueError(f"tensor {name} of shape {shape} and type {dtype} has {len(data)} bytes")
    return data.view(numpy_type).reshape(shape)


def _unpacked(name: str, data: Array, shape: list[int]) -> Array:
    """Codes of 4 bits, two to a byte, as int8."""
    size = math.prod(shape)
    if min(shape, default=0) < 0 or -(-size // 2) != len(data):
        raise ValueError(f"tensor {name} of shape {shape} and type INT4 has {len(data)} bytes")
    halves = np.stack([data << 4, data & 0xF0], axis=-1).reshape(-1)[:size]
    return (halves.view(np.int8) >> 4).reshape(shape)


def _each_once(kernels: Iterable[Kernel]) -> Iterator[Kernel]:
    """Subgraphs have tensors of their own for what they share."""
    seen = set[tuple[Any, ...]]()
    for kernel in kernels:
        begin = kernel.values.__array_interface__["data"][0]
        place = (begin, kernel.values.shape, kernel.scales.tobytes())
        if place not in seen or kernel.dtype == "int4":
            seen.add(place)
            yield kernel


def _kernels(graph: Graph) -> Iterator[Kernel]:
    """The kernels in the operators' order, each tensor once; found through DEQUANTIZE."""
    sources = {op.outputs[0]: op.inputs[0] for op in graph.operators if op.name == "DEQUANTIZE"}
    seen = set()
    for operator in graph.operators:
        if operator.name not in _CHANNEL_AXES:
            continue
        index = sources.get(operator.inputs[1], operator.inputs[1])
        tensor = graph.tensors[index]
        if tensor.data is not None and index not in seen:
            seen.add(index)
            yield _kernel(graph, operator, tensor, tensor.data, sources)


def _kernel(
    graph: Graph, operator: Operator, tensor: Tensor, values: Array, sources: dict[int, int]
) -> Kernel:
    axis = _CHANNEL_AXES[operator.name]
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError(f"kernel {tensor.name} holds NaN or infinite weights")
    for parameters in (tensor.scales, tensor.zero_points):
        if len(parameters) not in (0, 1, values.shape[axis]):
            raise ValueError(f"kernel {tensor.name} of shape {values.shape} has {len(parameters)} scales")
    return Kernel(
        name=tensor.name,
        operator=operator.name,
        values=values,
        channel_axis=axis,
        scales=tensor.scales,
        zero_points=tensor.zero_points,
        biases=_biases(graph, operator, sources),
        dtype=tensor.dtype.lower(),
        execution=_execution(graph, operator, tensor.dtype.lower(), operator.inputs[1] in sources),
    )


def _execution(graph: Graph, operator: Operator, dtype: str, dequantised: bool) -> str:
    """What an operator does with a kernel that is stored in a type, in words."""
    if dequantised:
        return f"{dtype}, dequantised at run time"
    taken = graph.tensors[operator.inputs[2 if operator.name == "TRANSPOSE_CONV" else 0]].dtype.lower()
    if dtype.startswith("float"):
        return dtype
    if taken.startswith("float"):
        return f"{dtype}, executed in int8 with activations quantised at run time"
    return f"{dtype}, executed in {taken}"


def _biases(graph: Graph, operator: Operator, sources: dict[int, int]) -> int:
    """The elements of the operator's bias, 0 if it has none."""
    position = 3 if operator.name == "TRANSPOSE_CONV" else 2
    index = operator.inputs[position] if len(operator.inputs) > position else -1
    data = graph.tensors[sources.get(index, index)].data if index >= 0 else None
    return 0 if data is None else data.size
