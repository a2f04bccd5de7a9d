"""The report on a model, the same for ONNX and TFLite, and how it is shown."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgepress.text import one_line, shown

_LONGEST = 300
"""Characters of an entry that are shown."""


@dataclass(frozen=True)
class End:
    """An input or output; in `shape` names stand for sizes that are not fixed. `layout` is '' if unknown.

    `shape` is None of what is no tensor, and of one whose number of axes is not known.
    """

    name: str
    shape: tuple[int | str, ...] | None
    dtype: str
    layout: str


@dataclass(frozen=True)
class KernelReport:
    """A kernel: `scales` is the number of its scales (0: not quantised), `channel_axis` theirs if several."""

    name: str
    operator: str
    shape: tuple[int, ...]
    dtype: str
    sparsity: float
    unique_weights: int
    scales: int
    channel_axis: int | None


@dataclass(frozen=True)
class TransposeReport:
    """A transpose that stayed in the network, by the node (ONNX) or output tensor (TFLite) that it is.

    `origin` is the ONNX node that it stems from and why, '' where that is not known.
    """

    name: str
    source: str
    order: tuple[int, ...] | None
    origin: str = ""


@dataclass(frozen=True)
class OperatorReport:
    """An operator (TFLite) or node (ONNX), and what it makes first.

    `nodes` are the ONNX nodes that it does the work of, joined by `;`; in a file of another converter, what
    that calls it.
    """

    operator: str
    nodes: str
    shape: tuple[int | str, ...] | None
    dtype: str


@dataclass(frozen=True)
class Report:
    """All that `inspect` tells.

    `macs` are multiplications with accumulation, for a batch of one, in convolutions and matrix products.
    `peak_activation_bytes` is the tensor arena of a `.tflite` without the runtime's own needs, and the like
    for ONNX. Both are None where shapes are not known, or the network is too large to plan. `notes` name what
    int8 does not suit: joins that stay in floats, and outputs that it cannot tell apart. `weights` says of a
    `.tflite` whether their codes are executed or dequantised, `about` what the file says of the network.
    """

    path: str
    form: str
    number_format: str
    inputs: tuple[End, ...]
    outputs: tuple[End, ...]
    op_counts: Mapping[str, int]
    parameters: int
    macs: int | None
    sparsity: float
    size_bytes: int
    size_gzip_bytes: int
    peak_activation_bytes: int | None
    kernels: tuple[KernelReport, ...]
    transposes: tuple[TransposeReport, ...]
    operators: tuple[OperatorReport, ...]
    about: Mapping[str, str]
    notes: tuple[str, ...] = ()
    weights: str = ""

    def as_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return asdict(self)


def render(report: Report, operators: bool = False) -> str:
    """The report as text for people, with each operator if asked for."""
    lines = [
        f"{shown(report.path)}: {report.form}, {report.number_format}",
        *(f"input    {_end(end)}" for end in report.inputs),
        *(f"output   {_end(end)}" for end in report.outputs),
        *_about(report.about),
        "",
        f"size            {report.size_bytes:,} bytes, {report.size_gzip_bytes:,} with gzip",
        f"parameters      {report.parameters:,}, {report.sparsity:.1%} of the prunable weights are zero",
        *([f"weights         {report.weights}"] if report.weights else []),
        f"MACs            {_count(report.macs)}",
        f"{'tensor arena' if report.form == 'TFLite' else 'activations':16}"
        f"{_count(report.peak_activation_bytes, ' bytes')} (estimate)",
        f"transposes      {len(report.transposes)}",
        *render_transposes(report.transposes),
        *report.notes,
        "",
        *render_operators(report.op_counts),
    ]
    listed = _operators(report.operators) if operators else []
    return "\n".join([*lines, *_kernels(report.kernels), *listed])


def table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Rows as aligned lines, the first column to the left, the others to the right."""
    kept = [tuple(map(shown, row)) for row in rows]
    widths = [max(len(row[i]) for row in kept) for i in range(len(kept[0]))] if kept else []
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in kept
    ]


def render_operators(counts: Mapping[str, int]) -> list[str]:
    """The table of operators, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    total = sum(counts.values())
    return table([("operator", "count"), *((name, str(n)) for name, n in ordered), ("total", str(total))])


def render_transposes(transposes: Iterable[TransposeReport]) -> list[str]:
    """A line for each: the node that it stems from, or else its own name and operand."""
    return [
        f"  {shown(each.origin) or f'{shown(each.name)} of {shown(each.source)}'} {_order(each)}".rstrip()
        for each in transposes
    ]


def _about(entries: Mapping[str, str]) -> list[str]:
    """What the file says, each entry in a line."""
    told = [f"{shown(key)}: {shown(text)}" for key, text in entries.items()]
    return ["", *(one_line(line, _LONGEST) for line in told)] if told else []


def _operators(operators: tuple[OperatorReport, ...]) -> list[str]:
    rows = [
        (each.nodes, f"{number} {each.operator}", _sizes(each.shape, "×"), each.dtype)
        for number, each in enumerate(operators)
    ]
    return ["", *table([("ONNX nodes", "operator", "makes", "type"), *rows])]


def _kernels(kernels: tuple[KernelReport, ...]) -> list[str]:
    if not kernels:
        return []
    rows = [
        (
            kernel.name, kernel.operator, "×".join(map(str, kernel.shape)), kernel.dtype,
            str(kernel.unique_weights), f"{kernel.sparsity:.1%}", _scales(kernel),
        )
        for kernel in kernels
    ]  # fmt: skip
    return ["", *table([("kernel", "operator", "shape", "type", "distinct", "zero", "scales"), *rows])]


def _scales(kernel: KernelReport) -> str:
    if not kernel.scales:
        return "none"
    return (
        str(kernel.scales)
        if kernel.channel_axis is None
        else f"{kernel.scales} on axis {kernel.channel_axis}"
    )


def _end(end: End) -> str:
    layout = f", {end.layout}" if end.layout else ""
    shape = "of unknown shape" if end.shape is None else f"({_sizes(end.shape, ', ')})"
    return f"{shown(end.name)}: {end.dtype} {shape}{layout}"


def _sizes(shape: tuple[int | str, ...] | None, between: str) -> str:
    return "?" if shape is None else between.join(map(shown, shape))


def _count(number: int | None, unit: str = "") -> str:
    return "unknown" if number is None else f"{number:,}{unit}"


def _order(transpose: TransposeReport) -> str:
    return "" if transpose.order is None else str(transpose.order)
