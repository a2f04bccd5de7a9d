"""A report on a `.tflite`."""

import math
from collections.abc import Callable
from pathlib import Path

from edgepress.convert.flatbuffer import read_tflite
from edgepress.convert.tflite_model import Graph, Kernel, Operator, Tensor, TfliteModel
from edgepress.errors import ArtifactError
from edgepress.graph.axes import Axes, layout
from edgepress.graph.formats import NumberFormat
from edgepress.inspection.arena import arena_bytes, lifetimes
from edgepress.inspection.joins import tflite_float_joins
from edgepress.inspection.layouts import axes_of, order_of
from edgepress.inspection.report import End, KernelReport, OperatorReport, Report, TransposeReport
from edgepress.inspection.tflite_metadata import said_by_tflite
from edgepress.measure.sizes import size_metrics
from edgepress.text import one_line
from edgepress.translate.origins import origin

_BITS = {"INT4": 4, "64": 64, "32": 32, "16": 16}
"""Of a type by how its name ends; the others (8-bit integers, booleans) have 8."""

_LARGEST = 2**40


def inspect_tflite(path: Path) -> Report:
    """Report on a file.

    Raises:
        ArtifactError: the file is absent, truncated or not a `.tflite`.
    """
    try:
        model = read_tflite(path)
    except ArtifactError as error:
        if not path.exists():
            raise ArtifactError(f"cannot read {path}: no such file; check the name") from error
        if "is corrupt" not in str(error):
            raise
        reason = str(error).partition("(")[2].partition("); delete")[0]
        raise ArtifactError(
            f"{path} is truncated or not a TFLite model ({reason}); convert it again"
        ) from error
    try:
        return _report(path, model)
    except (IndexError, ValueError) as error:  # operands that are absent, kernels without elements
        raise ArtifactError(f"{path} is damaged: {one_line(error, 150)}; convert it again") from error


def _report(path: Path, model: TfliteModel) -> Report:
    graph, sizes = model.graphs[0], size_metrics(path)
    axes = axes_of(graph)
    prunable = [kernel for kernel in model.kernels if kernel.prunable]
    weights = sum(kernel.values.size for kernel in prunable)
    kernels = sorted((_kernel(each) for each in model.kernels), key=lambda each: -each.unique_weights)
    return Report(
        path=str(path),
        form="TFLite",
        number_format=tflite_format(model),
        inputs=tuple(_end(graph, index, axes) for index in graph.inputs),
        outputs=tuple(_end(graph, index, axes) for index in graph.outputs),
        op_counts=model.op_counts,
        parameters=sum(kernel.values.size + kernel.biases for kernel in model.kernels),
        macs=_macs(model),
        sparsity=sum(kernel.zeros for kernel in prunable) / weights if weights else 0.0,
        **sizes,
        peak_activation_bytes=_peak(model),
        weights=model.weights,
        kernels=tuple(kernels),
        transposes=transposes(model),
        operators=tuple(_operator(each, operator) for each in model.graphs for operator in each.operators),
        about=said_by_tflite(model.metadata),
        notes=(*model.needs, *map(str, tflite_float_joins(graph))),
    )


def _operator(graph: Graph, operator: Operator) -> OperatorReport:
    made = graph.tensors[operator.outputs[0]]
    return OperatorReport(operator.name, operator.nodes, tuple(made.shape), made.dtype.lower())


def _given(indices: list[int]) -> list[int]:
    return [index for index in indices if index >= 0]


def tflite_format(model: TfliteModel) -> NumberFormat:
    """The number format, named as in `edgepress.graph.formats`, by the kernels and by what is computed."""
    kernels = {kernel.dtype for kernel in model.kernels}
    computed = {tensor.dtype for graph in model.graphs for tensor in graph.tensors if not tensor.constant}
    if "int4" in kernels and "INT8" in computed:
        return "int4_weights"
    if not kernels.isdisjoint(("int8", "uint8", "int4")):
        executed = any("executed" in kernel.execution for kernel in model.kernels)
        forms: dict[str, NumberFormat] = {"INT16": "int16x8", "INT8": "int8"}
        found = [form for dtype, form in forms.items() if dtype in computed]
        return found[0] if found else "dynamic" if executed else "int8_weights"
    return "fp16" if "float16" in kernels else "float32"


def _end(graph: Graph, index: int, axes: Axes) -> End:
    tensor = graph.tensors[index]
    place = layout(axes.place(index, len(tensor.shape)), len(tensor.shape))
    declared = tensor.signature if len(tensor.signature) == len(tensor.shape) else tensor.shape
    shape = tuple("?" if size == -1 else size for size in declared)
    return End(tensor.name, shape, tensor.dtype.lower(), place)


def transposes(model: TfliteModel) -> tuple[TransposeReport, ...]:
    """The transposes of a model and what each stems from."""
    found = [(graph, op) for graph in model.graphs for op in graph.operators if op.name == "TRANSPOSE"]
    return tuple(_transpose(graph, op) for graph, op in found)


def _transpose(graph: Graph, transpose: Operator) -> TransposeReport:
    made, read = (ends[0] if ends else -1 for ends in (transpose.outputs, transpose.inputs))
    name, source = graph.tensors[made].name, graph.tensors[read].name
    return TransposeReport(name, source, order_of(graph, transpose), str(origin(transpose.nodes) or ""))


def _kernel(kernel: Kernel) -> KernelReport:
    return KernelReport(
        name=kernel.name,
        operator=kernel.operator,
        shape=kernel.values.shape,
        dtype=kernel.dtype,
        sparsity=kernel.zeros / kernel.values.size if kernel.values.size else 0.0,
        unique_weights=kernel.unique_weights,
        scales=len(kernel.scales),
        channel_axis=kernel.channel_axis if len(kernel.scales) > 1 else None,
    )


def _bytes(tensor: Tensor) -> int | None:
    """The bytes that the arena must hold for a tensor."""
    if tensor.constant:
        return 0
    bits = next((bits for suffix, bits in _BITS.items() if tensor.dtype.endswith(suffix)), 8)
    if tensor.dtype in ("STRING", "RESOURCE", "VARIANT") or min(tensor.shape, default=0) < 0:
        return None
    elements = math.prod(tensor.shape)
    return -(-elements * bits // 8) if elements < _LARGEST else None


def _peak(model: TfliteModel) -> int | None:
    """The arenas of all subgraphs, each of which has its own."""
    arenas = [_arena(graph) for graph in model.graphs]
    known = [arena for arena in arenas if arena is not None]
    return sum(known) if len(known) == len(arenas) else None


def _arena(graph: Graph) -> int | None:
    sizes = [_bytes(tensor) for tensor in graph.tensors]
    steps = [(_given(op.inputs), _given(op.outputs)) for op in graph.operators]
    return arena_bytes(lifetimes(sizes, steps, graph.inputs, graph.outputs))


def _macs(model: TfliteModel) -> int | None:
    """None also where it depends on what the network takes: on a branch, or a number of rounds."""
    first, *others = model.graphs
    multiply = any(operator.name in _MACS for graph in others for operator in graph.operators)
    return None if multiply else _macs_of(first)


def _macs_of(graph: Graph) -> int | None:
    total = 0
    for operator in graph.operators:
        if operator.name in _MACS and len(operator.inputs) > 1 and operator.outputs:
            shapes = [graph.tensors[index].shape for index in (*operator.inputs[:3], operator.outputs[0])]
            if any(min(shape, default=0) < 0 for shape in shapes):
                return None
            total += _MACS[operator.name](shapes)
    return total


def _per_output(first_axis: int) -> Callable[[list[list[int]]], int]:
    """Output elements times the kernel's elements from an axis on; `shapes` are operands and output."""
    return lambda shapes: math.prod(shapes[-1]) * math.prod(shapes[1][first_axis:])


_MACS: dict[str, Callable[[list[list[int]]], int]] = {
    "CONV_2D": _per_output(1),
    "DEPTHWISE_CONV_2D": lambda shapes: math.prod(shapes[-1]) * math.prod(shapes[1][1:3]),
    "FULLY_CONNECTED": _per_output(1),
    "BATCH_MATMUL": lambda shapes: math.prod(shapes[-1]) * shapes[0][-1],
    "TRANSPOSE_CONV": lambda shapes: math.prod(shapes[2]) * math.prod(shapes[1][:3]),
}
"""From the shapes of operands and output; TRANSPOSE_CONV reads its image as operand 2."""
