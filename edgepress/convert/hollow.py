"""A network converted without its large kernels, which are put into the finished file.

TensorFlow's converter keeps a weight several times over, in its graph, its intermediate representation and
twice in the file it writes. A constant that is one number repeated it stores once. So each large kernel goes
through it as a number of its own, repeated, its mark. A buffer of the result that holds nothing but the mark
is what the converter made of the kernel without touching its values; the operator that reads the buffer says
in which order of axes. All of that is checked. Where the converter did anything else, as multiply a kernel or
leave it out, the network has to be converted whole.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgepress.translate.plan import Array, Plan, Step

LARGE = 1 << 16
"""Kernels of fewer elements go through the converter as they are."""

_MARKS = tuple(float(np.ldexp(1 + i / 1024, exponent)) for exponent in range(-13, -1) for i in range(1024))
"""float16 has them all, so that each of them is still itself where weights are stored so."""

_ROOM = 256
"""Bytes that a buffer takes beside its content, at most."""

_TYPES: dict[int, "np.dtype[Any]"] = {
    schema.TensorType.FLOAT32: np.dtype("<f4"),
    schema.TensorType.FLOAT16: np.dtype("<f2"),
}
_ORDERS = {"conv": (3, 0, 1, 2), "conv_transpose": (2, 0, 1, 3), "dense": (1, 0)}
_OPERATORS = {
    "conv": schema.BuiltinOperator.CONV_2D,
    "depthwise_conv": schema.BuiltinOperator.DEPTHWISE_CONV_2D,
    "conv_transpose": schema.BuiltinOperator.TRANSPOSE_CONV,
    "dense": schema.BuiltinOperator.FULLY_CONNECTED,
}


@dataclass(frozen=True)
class Kernel:
    """A kernel as TFLite's `operator` stores it, and the number that stands for each of its elements."""

    mark: float
    operator: int
    values: Array


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


def hollow(plan: Plan, least: int = LARGE) -> tuple[Plan, list[Kernel]]:
    """The plan with marks in place of its float kernels of at least so many elements, and these kernels.

    Equal ones share a mark, as TensorFlow stores equal constants once.
    """
    kernels: list[Kernel] = []
    steps = []
    for step in plan.steps:
        if not _can_wait(step, least) or len(kernels) == len(_MARKS):
            steps.append(step)
            continue
        weight = step.weights["kernel"]
        kernel = _known(kernels, step)
        if kernel is None:
            kernel = Kernel(_MARKS[len(kernels)], _OPERATORS[step.op], _stored(step))
            kernels.append(kernel)
        marks = np.broadcast_to(np.float32(kernel.mark), weight.values.shape)
        steps.append(replace(step, weights={**step.weights, "kernel": replace(weight, values=marks)}))
    return replace(plan, steps=tuple(steps)), kernels


def emptied(content: bytes, kernels: Sequence[Kernel]) -> bytes:
    """The file with a short label in each buffer that holds a kernel's mark and nothing else."""
    model = schema.ModelT.InitFromPackedBuf(content)
    numbers = {kernel.mark: number for number, kernel in enumerate(kernels)}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            buffer = model.buffers[tensor.buffer]
            if (number := numbers.get(_repeated(tensor, buffer))) is not None:
                buffer.data = _label(number)
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
    for index, kernel in places.items():
        model.buffers[index] = _Space(kernel.values.size * _TYPES[types[index]].itemsize)
    packed = _packed(model, len(content) + sum(model.buffers[index].length + _ROOM for index in places))
    root = schema.Model.GetRootAs(packed)
    for index, kernel in places.items():
        space = root.Buffers(index).DataAsNumpy().view(_TYPES[types[index]])
        space.reshape(kernel.values.shape)[...] = kernel.values
    return bytes(packed)


def _can_wait(step: Step, least: int) -> bool:
    """Whether it is a kernel whose place in the file is known; int8 ones are computed from their scales."""
    if step.op not in _OPERATORS or "kernel" not in step.weights:
        return False
    weight = step.weights["kernel"]
    split = step.op == "conv_transpose" and step.attributes["groups"] > 1
    return (
        weight.values.size >= least
        and weight.values.dtype == np.float32
        and not (weight.quantisation or split)
    )


def _stored(step: Step) -> Array:
    """A view of a step's kernel as TFLite orders its axes."""
    values = step.weights["kernel"].values
    if step.op == "depthwise_conv":
        return values.reshape(1, *values.shape[:2], -1)
    return values.transpose(_ORDERS[step.op])


def _known(kernels: Sequence[Kernel], step: Step) -> Kernel | None:
    """The kernel that has these values already."""
    values, operator = _stored(step), _OPERATORS[step.op]
    for kernel in kernels:
        alike = kernel.operator == operator and kernel.values.shape == values.shape
        if alike and (kernel.values[0] == values[0]).all() and (kernel.values == values).all():
            return kernel
    return None


def _repeated(tensor: Any, buffer: Any) -> float:
    """The number that a constant of floats repeats; NaN if it is not such a constant."""
    if tensor.type in _TYPES and isinstance(buffer.data, np.ndarray):
        values: Array = buffer.data.view(_TYPES[tensor.type])
        if values.size and values.min() == values.max():
            return float(values[0])
    return math.nan


def _reads_as_told(model: Any, graph: Any, places: Mapping[int, Kernel]) -> bool:
    """Whether each kernel has its shape and only its operator reads it, directly or through DEQUANTIZE."""
    held = {number: places.get(tensor.buffer) for number, tensor in enumerate(graph.tensors)}
    if any(k is not None and tuple(graph.tensors[i].shape) != k.values.shape for i, k in held.items()):
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
