"""The last run's results as text, from the files in `metrics/`."""

import itertools
from typing import Any

from edgepress.artifacts import metrics_path, read_json
from edgepress.config.device import MEASURE_AGAIN
from edgepress.measure.spending import overspent
from edgepress.report import text
from edgepress.report.metrics import Metrics
from edgepress.text import one_line, shown

STAGES = ("train", "export-onnx", "prune", "cluster", "quantize", "convert-tflite")
RUNTIMES = ("tflite", "onnxruntime")


def render(max_drop: float = 1.0) -> str:
    """What each stage made of the network, what the device measured, and which stage cost most accuracy.

    A stage that cost more than `max_drop` of validation accuracy is warned of.

    Raises:
        ArtifactError: a file of `metrics/` is absent or damaged.
    """
    stages = {stage: Metrics(metrics_path(stage)) for stage in STAGES}
    accuracy, latency = Metrics(metrics_path("accuracy")), Metrics(metrics_path("latency"))
    table = "\n".join([_stage_table(stages), *_warnings(stages, max_drop)])
    by_output = any(metrics.any("source_snr_db") is not None for metrics in stages.values())
    what = "signal over noise, of the stage before," if by_output else "accuracy"
    head = [f"After each stage ({what} on the validation split):", table]
    if accuracy.any("members") is None:
        parts = [*_device(accuracy, latency), f"{_agreement(accuracy, latency)}\n{_cost(stages, accuracy)}"]
    else:
        parts = _fleet(stages, accuracy, latency)
    return "\n\n".join(head + parts)


def figures() -> dict[str, Any]:
    """All that was measured, as plain values: of each stage, and the last stage's reports.

    Raises:
        ArtifactError: as `render`.
    """
    stages = {stage: read_json(metrics_path(stage)) for stage in STAGES}
    return {"stages": stages, **{name: read_json(metrics_path(name)) for name in ("accuracy", "latency")}}


def _fleet(stages: dict[str, Metrics], accuracy: Metrics, latency: Metrics) -> list[str]:
    """A part for each member, that of a failed one with what measures it anew."""
    parts, measured = list[str](), list[Metrics]()
    for name in accuracy.any("members"):
        ours, times = accuracy.below(f"members.{name}"), latency.below(f"members.{name}")
        error = ours.any("error")
        if error is not None:
            parts.append(
                f"{shown(name)} failed: {one_line(error)}\nTo measure all members anew: {MEASURE_AGAIN}"
            )
        else:
            title, table = _device(ours, times)
            parts += [f"{shown(name)}: {title}", f"{table}\n{_agreement(ours, times)}"]
            measured.append(ours)
    return [*parts, *(_cost(stages, each) for each in measured[:1])]


def _device(accuracy: Metrics, latency: Metrics) -> list[str]:
    doubts = [(name, latency.any(f"{name}.warning")) for name in ("conditions", *RUNTIMES)]
    warnings = [f"warning: {name}: {one_line(doubt)}" for name, doubt in doubts if doubt]
    return [_device_title(accuracy, latency), "\n".join([_device_table(accuracy, latency), *warnings])]


def _stage_table(stages: dict[str, Metrics]) -> str:
    heads = ("stage", "accuracy", "size", "gzip", "zeros", "distinct weights", "parameters")
    rows = [_stage_row(stage, metrics) for stage, metrics in stages.items()]
    if any(metrics.any("source_snr_db") is not None for metrics in stages.values()):
        heads = (heads[0], "as before", *heads[2:])
        ratios = [text.show(each.optional("source_snr_db"), text.decibels) for each in stages.values()]
        rows = [(row[0], ratio, *row[2:]) for row, ratio in zip(rows, ratios, strict=True)]
    return text.table([heads, *rows])


def _warnings(stages: dict[str, Metrics], max_drop: float) -> list[str]:
    pairs = itertools.pairwise(stages.items())
    found = (overspent(stage, before.values, after.values, max_drop) for (_, before), (stage, after) in pairs)
    return [f"warning: {warning}" for warning in found if warning]


def _stage_row(stage: str, metrics: Metrics) -> tuple[str, ...]:
    return (
        stage,
        text.number(metrics.optional("accuracy"), ".4f"),
        *(text.show(_size(metrics, key), text.size) for key in ("size_bytes", "size_gzip_bytes")),
        text.number(metrics.optional("sparsity"), ".1%"),
        text.number(metrics.optional("max_unique_weights"), ",d"),
        text.number(metrics.optional("parameters"), ",d"),
    )


def _size(metrics: Metrics, key: str) -> float | None:
    """A size that must be there, unless no file was made."""
    return None if metrics.any("converter") == "none" else metrics.number(key)


def _device_title(accuracy: Metrics, latency: Metrics) -> str:
    samples, threads = int(accuracy.number("samples")), latency.any("threads")
    baseline = f"float32 accuracy {text.number(accuracy.optional('baseline_accuracy'), '.4f')}"
    kind, cpu, form = (shown(latency.any(key)) for key in ("kind", "device.cpu", "device.architecture"))
    place = f"{kind} on {cpu} ({form})"
    first = f"On the test split ({samples} samples, {baseline}), against each runtime's float32 model;"
    return f"{first}\n{place}{f', threads: {threads}' if threads else ''}:"


def _device_table(accuracy: Metrics, latency: Metrics) -> str:
    """A row for each runtime, with a column for each figure that the device tells of any."""
    present = [name for name in RUNTIMES if accuracy.any(name) is not None]
    figures = (
        ("p50", "p50_ms", text.duration),
        ("speed-up", "speedup", "{:.2f}×".format),
        ("tensor arena", "tensor_arena_bytes", text.size),
        *text.FIGURES,
    )
    told = [each for each in figures if any(latency.any(f"{name}.{each[1]}") for name in present)]
    by_output = any(accuracy.any(f"{name}.baseline_agreement.outputs") is not None for name in present)
    heads = (
        "runtime",
        *(("worst output",) if by_output else ("accuracy", "drop")),
        "size",
        "size ratio",
        "gzip ratio",
        *(head for head, _, _ in told),
    )
    rows = [
        (
            *_accuracy_row(name, accuracy, by_output),
            *(text.show(latency.optional(f"{name}.{key}"), form) for _, key, form in told),
        )
        for name in present
    ]
    return "\n\n".join([text.table([heads, *rows]), *_by_output(present, accuracy)])


def _by_output(runtimes: list[str], accuracy: Metrics) -> list[str]:
    """How far each output agrees with that of float32, where there are several, or no classes."""
    agreements = {name: accuracy.any(f"{name}.baseline_agreement.outputs") or {} for name in runtimes}
    rows = [
        (
            shown(output),
            name,
            text.show(figures.get("snr_db"), text.decibels),
            text.show(figures.get("max_relative_diff"), "{:.2%}".format),
            text.show(figures.get("top1"), "{:.1%}".format),
        )
        for name, outputs in agreements.items()
        for output, figures in outputs.items()
    ]
    heads = ("output", "runtime", "signal over noise", "largest difference", "same largest element")
    return [text.table([heads, *rows], left=2)] if rows else []


def _accuracy_row(runtime: str, accuracy: Metrics, by_output: bool) -> tuple[str, ...]:
    quality = (
        text.number(accuracy.optional(f"{runtime}.accuracy"), ".4f"),
        text.number(accuracy.optional(f"{runtime}.accuracy_drop"), ".4f"),
    )
    worst = (text.show(accuracy.optional(f"{runtime}.baseline_agreement.min_snr_db"), text.decibels),)
    return (
        runtime,
        *(worst if by_output else quality),
        text.size(accuracy.number(f"{runtime}.size_bytes")),
        f"{accuracy.number(f'{runtime}.size_ratio'):.2f}×",
        f"{accuracy.number(f'{runtime}.size_gzip_ratio'):.2f}×",
    )


def _agreement(accuracy: Metrics, latency: Metrics) -> str:
    if accuracy.any("without_tflite") is not None:
        return f"There is no .tflite: {one_line(accuracy.any('without_tflite'))}."
    if accuracy.any("agreement") is None:
        return _of_one_runtime(latency)
    if accuracy.any("agreement.outputs") is not None:
        return f"Between the runtimes, at worst: {text.decibels(accuracy.number('agreement.min_snr_db'))}."
    top1, logits = accuracy.number("agreement.top1"), accuracy.number("agreement.identical_logits")
    steps = accuracy.optional("agreement.max_step_diff")
    apart = "" if steps is None else f"; largest difference in output steps: {steps:g}"
    return f"The runtimes agree on {top1:.1%} of classes and {logits:.1%} of logits{apart}."


def _of_one_runtime(latency: Metrics) -> str:
    """How far it agrees with LiteRT's reference kernels, or what an accelerator leaves to the CPU."""
    if latency.any("tflite.reference_agreement") is not None:
        keys = ("top1", "identical")
        top1, identical = (latency.optional(f"tflite.reference_agreement.{key}") for key in keys)
        classes = "" if top1 is None else f"{top1:.1%} of classes and "
        return f"LiteRT's reference kernels agree on {classes}{identical or 0:.1%} of outputs."
    left = latency.any("tflite.cpu_operators")
    if left is None:
        return "The device has one runtime, so there is none to agree with."
    if not left:
        return "All operators run on the accelerator."
    return "\n".join(
        ["Left to the CPU, and not in the estimate:", *(f"  {shown(each, 400)}" for each in left)]
    )


def _cost(stages: dict[str, Metrics], accuracy: Metrics) -> str:
    if accuracy.optional("baseline_accuracy") is not None:
        return _costliest(stages)
    reason = accuracy.any("tflite.reason")
    if reason is not None:
        return f"There is no accuracy on the test split: {one_line(reason)}."
    measured = next(name for name in RUNTIMES if accuracy.any(name) is not None)
    model = "The .tflite" if measured == "tflite" else "The ONNX model"
    top1 = accuracy.optional(f"{measured}.baseline_agreement.top1")
    if top1 is None:
        worst = text.decibels(accuracy.number(f"{measured}.baseline_agreement.min_snr_db"))
        return f"No accuracy, but agreement by output. {model} and its float32 model, at worst: {worst}."
    return f"The data has no classes. {model} gives its float32 model's class for {top1:.1%} of samples."


def _costliest(stages: dict[str, Metrics]) -> str:
    """The stage after which accuracy had fallen most, against the stage before it."""
    told = ((stage, metrics.optional("accuracy")) for stage, metrics in stages.items())
    accuracies = [(stage, accuracy) for stage, accuracy in told if accuracy is not None]
    steps = [
        (before - after, stage, before, after)
        for (_, before), (stage, after) in itertools.pairwise(accuracies)
    ]
    cost, stage, before, after = max(steps, key=lambda step: step[0])
    if cost <= 0:
        return "No stage cost accuracy on the validation split."
    points = f"{100 * cost:.2f} points, {before:.4f} → {after:.4f} on validation"
    return f"The stage that cost most accuracy is {stage}: {points}."
