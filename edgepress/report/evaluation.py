"""What `evaluate-on-device` reports, from the measurements of both runtimes."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgepress.artifacts import model_path
from edgepress.config.device import DeviceConfig, Timing
from edgepress.datasets.prepared import UNKNOWN
from edgepress.devices.base import Array, Measurement, ModelRun, Pair, RuntimeName, Timings
from edgepress.devices.conversion import Conversion
from edgepress.devices.statistics import speedup
from edgepress.errors import DeviceError
from edgepress.measure.agreement import MOST_DB, agreement_metrics, aligned, finite, is_classifier
from edgepress.measure.agreement import agreement as compare_outputs
from edgepress.measure.inference import accuracy_of, same_class
from edgepress.measure.sizes import size_metrics
from edgepress.report.caveats import conditions_report, speedup_warning

PAIRS = (
    Pair(
        "tflite",
        candidate=model_path("convert-tflite", "model.tflite"),
        baseline=model_path("convert-tflite", "baseline.tflite"),
    ),
    Pair("onnxruntime", candidate=model_path("quantize"), baseline=model_path("export-onnx")),
)
"""What the pipeline ends with; without the first where it makes no `.tflite`."""

STEP_TOLERANCE = 1e-3
"""Logits of quantised outputs are identical if they differ by no more than this share of an output step."""

FLOAT_TOLERANCE = 1e-5
"""Float logits are identical if they differ by no more than this share of the range of all logits."""

Measurements = Mapping[RuntimeName, Measurement]
Report = dict[str, Any]


def pairs(conversion: Conversion) -> tuple[Pair, ...]:
    """What there is to measure, by what `convert-tflite` noted."""
    tflite, onnx = PAIRS
    return (onnx,) if conversion.orders is None else (replace(tflite, orders=conversion.orders), onnx)


def check_outputs(measurement: Measurement, classes: int) -> None:
    """Refuse outputs that no accuracy or agreement should be claimed of; `classes` is 0 where there are none.

    Raises:
        DeviceError: a classifier has another number of outputs, or a model gives NaN where its baseline does
            not, or the same for every sample.
    """
    pair, found = measurement.pair, (measurement.candidate, measurement.baseline)
    sound = measurement.baseline.outputs is None or finite(measurement.baseline.values)
    for path, run in zip(pair.models, found, strict=True):
        fault = None if run.outputs is None else _fault(run, classes, sound)
        if fault is not None:
            raise DeviceError(f"{path} in {pair.runtime} {fault}")


def accuracy_report(measured: Measurements, classes: Array) -> Report:
    """The content of `accuracy.json`; accuracies and drops are fractions of the samples, or None.

    `kind` and `fingerprint` say of which machine, and how, as in `latency.json`.

    Where the device tells no outputs, `reason` says so.

    `baseline_accuracy` is that of ONNX Runtime where there is one; each drop and ratio is against the same
    runtime's baseline. Of networks that give no classes, `baseline_agreement` and `agreement` compare each
    output; `samples` is then of how many.
    """
    runtimes: Report = {
        name: _accuracies(each, classes) | _sizes(each.pair) for name, each in measured.items()
    }
    first = next(iter(measured.values()))
    return {
        "kind": first.kind,
        "fingerprint": first.machine["fingerprint"],
        "baseline_accuracy": next(reversed(runtimes.values()))["baseline_accuracy"],
        "samples": first.candidate.samples if first.candidate.outputs is not None else len(classes),
        **runtimes,
        "agreement": _agreement(measured),
    }


def latency_report(measured: Measurements, config: DeviceConfig) -> Report:
    """The content of `latency.json`; durations are of single inferences, in milliseconds.

    What the device cannot tell, as an emulator the time, is None. `warning` says, for the machine and for
    each runtime, what takes from the figures' worth.
    """
    first, kernels = next(iter(measured.values())), getattr(config, "kernels", None)
    conditions = [each.conditions for each in measured.values() if each.conditions is not None]
    timing = getattr(config, "timing", None)
    return {
        "device": first.machine,
        "kind": first.kind,
        "threads": kernels.threads if kernels else None,
        "conditions": conditions_report(conditions, kernels),
        **{str(name): _latencies(each, timing) for name, each in measured.items()},
    }


def agreement(tflite: ModelRun, onnxruntime: ModelRun) -> Report:
    """How far two runtimes give the same for the same model.

    `top1` is the share of samples with the same class, `identical_logits` the share of logits that are equal
    within STEP_TOLERANCE or, where the output is not quantised, FLOAT_TOLERANCE. `max_step_diff` is the
    largest difference in steps of the quantised output (rounded to 1e-3), else None.
    """
    ours, theirs = tflite.logits.astype(np.float64), onnxruntime.logits.astype(np.float64)
    difference, step = np.abs(ours - theirs), tflite.step
    tolerance = STEP_TOLERANCE * step if step else FLOAT_TOLERANCE * float(np.ptp(theirs))
    return {
        "top1": same_class(ours, theirs),
        "identical_logits": float((difference <= tolerance).mean()),
        "max_step_diff": round(float(difference.max()) / step, 3) if step else None,
    }


_NO_TAGS = str.maketrans({"<": "‹", ">": "›"})


def agreement_by_output(tflite: ModelRun, onnxruntime: ModelRun) -> Report:
    """How far two runtimes give the same for the same model that is no classifier, for each output.

    Beside what `agreement_metrics` tells, `identical` is the share of numbers that are equal, within the
    tolerances of `agreement`.
    """
    ours, theirs = aligned(tflite.values, onnxruntime.values), onnxruntime.values
    report = agreement_metrics(compare_outputs(ours, theirs, onnxruntime.samples))
    steps = dict(zip(theirs, (tflite.codes.get(name) for name in tflite.values), strict=True))
    for name, figures in report["outputs"].items():
        if ours[name].shape != theirs[name].shape or not theirs[name].size:
            continue
        codes, difference = steps[name], np.abs(np.subtract(ours[name], theirs[name], dtype=np.float64))
        step = codes.scale if codes else None
        spread = float(np.ptp(theirs[name].astype(np.float64)))
        tolerance = STEP_TOLERANCE * step if step else FLOAT_TOLERANCE * spread
        figures["identical"] = float((difference <= tolerance).mean())
    return report


def confusion_csv(run: ModelRun, classes: Array, class_names: Sequence[str]) -> bytes:
    """A row `actual,predicted` for each sample, as DVC's plot template `confusion` takes them.

    Without classes or outputs, or where these are of no classifier, there is no row. DVC puts the rows into a
    script in a page as they are: so what would end that script, or be a mark of DVC's, is written with other
    brackets.
    """
    names = [name.translate(_NO_TAGS) for name in class_names]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["actual", "predicted"])
    if run.outputs is None or not is_classifier(run.values, run.samples):
        return text.getvalue().encode()
    for actual, predicted in zip(classes, run.logits.argmax(axis=1), strict=True):
        if actual != UNKNOWN:
            writer.writerow([names[actual], names[predicted]])
    return text.getvalue().encode()


def summary(accuracy: Report, latency: Report) -> str:
    """One runtime's part of both reports in a line."""
    if accuracy["baseline_agreement"] is None:
        quality = f"no accuracy: {accuracy['reason']}"
    elif accuracy["accuracy"] is None and "top1" not in accuracy["baseline_agreement"]:
        quality = told_db(accuracy["baseline_agreement"]["min_snr_db"])
    elif accuracy["accuracy"] is None:
        quality = f"the class of float32 for {accuracy['baseline_agreement']['top1']:.1%} of samples"
    else:
        quality = f"accuracy {accuracy['accuracy']:.4f} (float32 {accuracy['baseline_accuracy']:.4f})"
    if latency["p50_ms"] is None:
        return quality + _untimed(latency)
    times = f"{latency['speedup']:.2f} times the speed of float32"
    interval = f"95% interval {latency['speedup_low']:.2f} to {latency['speedup_high']:.2f}"
    return f"{quality}, {latency['p50_ms']:.3f} ms ({times}; {interval})"


def _untimed(latency: Report) -> str:
    """What a device tells that measures no time."""
    arena, estimate = latency.get("tensor_arena_bytes"), latency.get("estimated_inference_ms")
    if arena is not None:
        baseline = latency["baseline_tensor_arena_bytes"]
        compared = "" if baseline is None else f" (float32 {baseline:,})"
        return f", tensor arena {arena:,} bytes{compared}"
    if estimate is None:
        return ""
    left = len(latency["cpu_operators"])
    rest = f"; {left} operators are left to the CPU, and not in it" if left else ""
    return f", estimated {estimate:.3f} ms, {latency['estimated_cycles']:,} cycles{rest}"


def _agreement(measured: Measurements) -> Report | None:
    """Of the candidates; None where the device has one runtime only."""
    if len(measured) < 2:
        return None
    runs = measured["tflite"].candidate, measured["onnxruntime"].candidate
    return agreement(*runs) if is_classifier(runs[1].values, runs[1].samples) else agreement_by_output(*runs)


def told_db(snr_db: float) -> str:
    """How far outputs are from those of float32, in words."""
    if snr_db >= MOST_DB:
        return "the outputs of float32"
    if snr_db <= -MOST_DB:
        return "outputs that have nothing of those of float32"
    return f"outputs at {snr_db:.1f} dB of signal over noise, of those of float32"


def _fault(run: ModelRun, classes: int, sound: bool) -> str | None:
    """What is wrong with a run's outputs, if it is; `sound` is whether those of float32 are finite."""
    if is_classifier(run.values, run.samples):
        return _fault_of_logits(run.logits, classes)
    if sound and not finite(run.values):
        return "gives outputs that are NaN or infinite, where float32 gives none; compress it less"
    rows = [each.reshape(run.samples, -1) for each in run.values.values() if not each.size % run.samples]
    if run.samples > 1 and rows and not any((each != each[:1]).any() for each in rows):
        collapsed = f"gives the same outputs for all {run.samples} samples, so nothing can be told of them"
        return f"{collapsed}; give inputs that differ, or compress it less"
    return None


def _fault_of_logits(logits: Array, classes: int) -> str | None:
    if classes and logits.shape[1] != classes:
        return f"has {logits.shape[1]} outputs, but the data set has {classes} classes; run: dvc repro"
    if not np.isfinite(logits).all():
        return "gives outputs that are NaN or infinite; lower the learning rates or compress it less"
    if (logits == logits[0]).all():
        collapsed = f"gives the same outputs for all {len(logits)} samples, so the network has collapsed"
        return f"{collapsed}; train or fine-tune it longer, or compress it less"
    return None


def _accuracies(measurement: Measurement, classes: Array) -> Report:
    if measurement.candidate.outputs is None:
        keys = ("baseline_accuracy", "accuracy", "accuracy_drop", "baseline_agreement")
        return {**dict.fromkeys(keys), "reason": "the device tells times, no outputs"}
    runs = measurement.baseline, measurement.candidate
    baseline, candidate = (accuracy_of(run.values, classes) for run in runs)
    drop = None if baseline is None or candidate is None else baseline - candidate
    return {
        "baseline_accuracy": baseline,
        "accuracy": candidate,
        "accuracy_drop": drop,
        "baseline_agreement": _closeness(measurement.candidate, measurement.baseline, candidate is None),
    }


def _closeness(candidate: ModelRun, baseline: ModelRun, by_output: bool) -> Report:
    """The share of samples with the same class, and how far the logits are apart; or else each output."""
    outputs = {}
    if by_output:
        found = aligned(candidate.values, baseline.values)
        outputs = agreement_metrics(compare_outputs(found, baseline.values, baseline.samples))
    if not is_classifier(baseline.values, baseline.samples):
        return outputs
    ours, theirs = candidate.logits.astype(np.float64), baseline.logits.astype(np.float64)
    difference = np.abs(ours - theirs)
    return {
        "top1": same_class(ours, theirs),
        "max_abs_diff": float(difference.max()),
        "mean_abs_diff": float(difference.mean()),
        **outputs,
    }


def _sizes(pair: Pair) -> Report:
    candidate, baseline = (size_metrics(model) for model in pair.models)
    return {
        **candidate,
        **{f"baseline_{key}": value for key, value in baseline.items()},
        "size_ratio": baseline["size_bytes"] / candidate["size_bytes"],
        "size_gzip_ratio": baseline["size_gzip_bytes"] / candidate["size_gzip_bytes"],
    }


def _latencies(measurement: Measurement, timing: Timing | None) -> Report:
    candidate, baseline = measurement.candidate, measurement.baseline
    return {
        **_process(candidate),
        **{f"baseline_{key}": value for key, value in _process(baseline).items()},
        **_speedups(candidate.timings, baseline.timings, timing),
        "runtime_version": measurement.runtime_version,
        "op_resolver": measurement.op_resolver,
    }


def _process(run: ModelRun) -> Report:
    """Times, of which `cold_start_ms` is loading and the first inference; memory; energy per inference."""
    report: Report = dict.fromkeys(
        ("p50_ms", "p90_ms", "p99_ms", "load_ms", "first_ms", "cold_start_ms", "peak_memory_bytes",
         "idle_memory_bytes", "energy_uj", "energy_above_idle_uj")
    )  # fmt: skip
    if run.timings is not None:
        times = run.timings
        for share in (50, 90, 99):
            report[f"p{share}_ms"] = float(np.percentile(times.durations_ms, share))
        report["load_ms"] = float(np.median(times.load_ms))
        report["first_ms"] = float(np.median(times.first_ms))
        report["cold_start_ms"] = float(np.median(times.load_ms + times.first_ms))
    if run.memory is not None:
        report |= {"peak_memory_bytes": run.memory.peak_bytes, "idle_memory_bytes": run.memory.idle_bytes}
    return report | dict(run.figures)


def _speedups(candidate: Timings | None, baseline: Timings | None, timing: Timing | None) -> Report:
    """How many times as fast as the baseline the candidate is, see `devices.statistics`."""
    if candidate is None or baseline is None:
        keys = ("speedup", "speedup_low", "speedup_high", "verdict", "sittings", "steady", "warning")
        return dict.fromkeys(keys)
    found = speedup(baseline.durations_ms, candidate.durations_ms)
    steady = None if candidate.steady is None else candidate.steady and baseline.steady
    return {
        "speedup": found.ratio,
        "speedup_low": found.low,
        "speedup_high": found.high,
        "verdict": found.verdict,
        "sittings": len(candidate.durations_ms),
        "steady": steady,
        "warning": speedup_warning(found, steady, timing),
    }
