"""Taking marks out of a `.tflite` and putting the kernels that they stand for in (see `hollow.py`)."""

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgepress.convert.hollow import Kernel
from edgepress.translate.plan import Array

_ROOM = 256
"""Bytes that a buffer takes beside its content, at most."""

_INT8 = schema.TensorType.INT8
_TYPES: dict[int, "np.dtype[Any]"] = {
    schema.TensorType.FLOAT32: np.dtype("<f4"),
    schema.TensorType.FLOAT16: np.dtype("<f2"),
    _INT8: np.dtype("i1"),
}
_BEYOND = 127
"""The code of a mark that is larger than all values."""


class _Space(schema.BufferT):
    """A buffer of zeros, for which the builder's memory, zero from the start, is only set aside."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def Pack(self, builder: Any) -> Any:  # noqa: N802
        """As its base packs an array, but for the copies."""
        builder.StartVector(1, self.length, 1)
        builder.head -= self.length
        builder.vectorNumElems = self.length
        vector = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


def emptied(content: bytes, kernels: Sequence[Kernel]) -> bytes:
    """The file with a short label in each buffer that holds a kernel's mark and nothing else."""
    model = schema.ModelT.InitFromPackedBuf(content)
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    numbers = [_number(tensor, model.buffers[tensor.buffer], kernels) for tensor in tensors]
    taken = {tensor.buffer for tensor, number in zip(tensors, numbers, strict=True) if number is None}
    homes: dict[int, int] = {}
    for tensor, number in zip(tensors, numbers, strict=True):
        if number is None:
            continue
        if number not in homes:  # kernels of codes are alike as long as they are marks, and share a buffer
            homes[number] = len(model.buffers) if tensor.buffer in taken else tensor.buffer
            model.buffers += [schema.BufferT()] if tensor.buffer in taken else []
            taken.add(homes[number])
            model.buffers[homes[number]].data = _label(number)
        tensor.buffer = homes[number]
    return bytes(_packed(model, _ROOM))


def filled(content: bytes, kernels: Sequence[Kernel]) -> bytes | None:
    """The file with the kernels where their labels are; None where one has no place, or not its own."""
    model = schema.ModelT.InitFromPackedBuf(content)
    numbers = {_label(number).tobytes(): number for number in range(len(kernels))}
    found = {index: numbers.get(_bytes(buffer)) for index, buffer in enumerate(model.buffers)}
    places = {index: kernels[number] for index, number in found.items() if number is not None}
    types = {t.buffer: t.type for graph in model.subgraphs for t in graph.tensors}
    if len(places) != len(kernels) or not all(
        _reads_as_told(model, graph, places) for graph in model.subgraphs
    ):
        return None
    _set_scales(model, places)
    for index, kernel in places.items():
        model.buffers[index] = _Space(kernel.values.size * _TYPES[types[index]].itemsize)
    packed = _packed(model, len(content) + sum(model.buffers[index].length + _ROOM for index in places))
    root = schema.Model.GetRootAs(packed)
    for index, kernel in places.items():
        space = root.Buffers(index).DataAsNumpy().view(_TYPES[types[index]])
        space.reshape(kernel.values.shape)[...] = kernel.stored()
    return bytes(packed)


def _number(tensor: Any, buffer: Any, kernels: Sequence[Kernel]) -> int | None:
    """Which kernel's mark a tensor holds; None if it is something else, or more than one fits."""
    if tensor.type not in _TYPES or not isinstance(buffer.data, np.ndarray) or not buffer.data.size:
        return None
    values: Array = buffer.data.view(_TYPES[tensor.type])
    value = values[0]
    if values.min() != values.max() or (tensor.type == _INT8 and value != _BEYOND):
        return None
    fits = [
        number
        for number, kernel in enumerate(kernels)
        if tuple(tensor.shape) == kernel.values.shape and _is_mark(kernel, tensor, float(value))
    ]
    return fits[0] if len(fits) == 1 else None


def _is_mark(kernel: Kernel, tensor: Any, value: float) -> bool:
    if tensor.type != _INT8:
        return kernel.scales is None and value == kernel.mark
    scales = np.asarray(tensor.quantization.scale if tensor.quantization else [], np.float32)
    if kernel.scales is None:
        return len(scales) > 0 and np.allclose(scales, kernel.mark / _BEYOND, 1e-6, 0)
    return len(scales) == kernel.scales.size and np.allclose(scales, kernel.scales.ravel(), 1e-6, 0)


def _set_scales(model: Any, places: dict[int, Kernel]) -> None:
    """Scales of the kernel, in the file too, instead of the mark's, where the converter makes the codes."""
    for tensor in (tensor for graph in model.subgraphs for tensor in graph.tensors):
        kernel = places.get(tensor.buffer)
        if kernel is None or tensor.type != _INT8 or kernel.scales is not None:
            continue
        own = tensor.quantization
        quantised = kernel.with_scales(own.quantizedDimension if len(own.scale) > 1 else None)
        assert quantised.scales is not None
        own.scale = quantised.scales.astype(np.float32).ravel()
        places[tensor.buffer] = quantised


def _reads_as_told(model: Any, graph: Any, places: Mapping[int, Kernel]) -> bool:
    """Whether each kernel has its shape and type and only its operator reads it, also through DEQUANTIZE."""
    held = {number: places.get(tensor.buffer) for number, tensor in enumerate(graph.tensors)}
    for tensor, kernel in zip(graph.tensors, held.values(), strict=True):
        if kernel is not None and tuple(tensor.shape) != kernel.values.shape:
            return False
        if kernel is not None and kernel.scales is not None and tensor.type != _INT8:
            return False
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        read = [(position, held.get(number)) for position, number in enumerate(operator.inputs)]
        if code == schema.BuiltinOperator.DEQUANTIZE:
            held[operator.outputs[0]] = read[0][1]
        elif any(k is not None and (position, code) != (1, k.operator) for position, k in read):
            return False
    return True


def _label(number: int) -> Array:
    return np.frombuffer(b"edgepress kernel %07d" % number, np.uint8)


def _bytes(buffer: Any) -> bytes:
    return buffer.data.tobytes() if isinstance(buffer.data, np.ndarray) else b""


def _packed(model: Any, room: int) -> memoryview:
    """The file's bytes, in a memory of about `room` bytes from the start, since it doubles when it grows."""
    builder = flatbuffers.Builder(room)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return memoryview(builder.Bytes)[builder.Head() :]
