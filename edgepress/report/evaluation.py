"""What `evaluate-on-device` reports, from the measurements of both runtimes."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgepress.config.device import DeviceConfig
from edgepress.datasets.prepared import UNKNOWN
from edgepress.devices.base import Array, Measurement, ModelRun, Pair, RuntimeName
from edgepress.errors import DeviceError
from edgepress.measure.inference import accuracy
from edgepress.measure.sizes import size_metrics

STEP_TOLERANCE = 1e-3
"""Logits of quantised outputs are identical if they differ by no more than this share of an output step."""

FLOAT_TOLERANCE = 1e-5
"""Float logits are identical if they differ by no more than this share of the range of all logits."""

Measurements = Mapping[RuntimeName, Measurement]
Report = dict[str, Any]


def check_outputs(measurement: Measurement, classes: int) -> None:
    """Refuse outputs that no accuracy or agreement should be claimed of; `classes` is 0 where there are none.

    Raises:
        DeviceError: a model has another number of outputs, gives NaN, or the same for every sample.
    """
    pair = measurement.pair
    for path, run in ((pair.candidate, measurement.candidate), (pair.baseline, measurement.baseline)):
        fault = _fault(run.logits, classes)
        if fault is not None:
            raise DeviceError(f"{path} in {pair.runtime} {fault}")


def accuracy_report(measured: Measurements, classes: Array) -> Report:
    """The content of `accuracy.json`; accuracies and drops are fractions of the samples, or None.

    `baseline_accuracy` is that of ONNX Runtime; each drop and ratio is against the same runtime's baseline.
    """
    runtimes: Report = {
        name: _accuracies(each, classes) | _sizes(each.pair) for name, each in measured.items()
    }
    return {
        "baseline_accuracy": runtimes["onnxruntime"]["baseline_accuracy"],
        "samples": len(classes),
        **runtimes,
        "agreement": agreement(measured["tflite"].candidate, measured["onnxruntime"].candidate),
    }


def latency_report(measured: Measurements, config: DeviceConfig) -> Report:
    """The content of `latency.json`; durations are of single inferences, in milliseconds."""
    first = next(iter(measured.values()))
    return {
        "device": first.machine,
        "kind": first.kind,
        "threads": config.threads,
        "rounds": config.rounds,
        "runs_per_round": config.runs_per_round,
        **{str(name): _latencies(each) for name, each in measured.items()},
    }


def agreement(tflite: ModelRun, onnxruntime: ModelRun) -> Report:
    """How far two runtimes give the same for the same model.

    `top1` is the share of samples with the same class, `identical_logits` the share of logits that are equal
    within STEP_TOLERANCE or, where the output is not quantised, FLOAT_TOLERANCE. `max_step_diff` is the
    largest difference in steps of the quantised output (rounded to 1e-3), else None.
    """
    ours, theirs = tflite.logits.astype(np.float64), onnxruntime.logits.astype(np.float64)
    difference = np.abs(ours - theirs)
    step = None if tflite.codes is None else tflite.codes.scale
    tolerance = STEP_TOLERANCE * step if step else FLOAT_TOLERANCE * float(np.ptp(theirs))
    return {
        "top1": float((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean()),
        "identical_logits": float((difference <= tolerance).mean()),
        "max_step_diff": round(float(difference.max()) / step, 3) if step else None,
    }


def confusion_csv(run: ModelRun, classes: Array, class_names: Sequence[str]) -> bytes:
    """A row `actual,predicted` for each sample, as DVC's plot template `confusion` takes them.

    Without classes there is no row.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["actual", "predicted"])
    for actual, predicted in zip(classes, run.logits.argmax(axis=1), strict=True):
        if actual != UNKNOWN:
            writer.writerow([class_names[actual], class_names[predicted]])
    return text.getvalue().encode()


def summary(accuracy: Report, latency: Report) -> str:
    """One runtime's part of both reports in a line."""
    if accuracy["accuracy"] is None:
        quality = f"the class of float32 for {accuracy['baseline_agreement']['top1']:.1%} of samples"
    else:
        quality = f"accuracy {accuracy['accuracy']:.4f} (float32 {accuracy['baseline_accuracy']:.4f})"
    return f"{quality}, {latency['p50_ms']:.3f} ms ({latency['speedup']:.2f} times the speed of float32)"


def _fault(logits: Array, classes: int) -> str | None:
    if classes and logits.shape[1] != classes:
        return f"has {logits.shape[1]} outputs, but the data set has {classes} classes; run: dvc repro"
    if not np.isfinite(logits).all():
        return "gives outputs that are NaN or infinite; lower the learning rates or compress it less"
    if (logits == logits[0]).all():
        collapsed = f"gives the same outputs for all {len(logits)} samples, so the network has collapsed"
        return f"{collapsed}; train or fine-tune it longer, or compress it less"
    return None


def _accuracies(measurement: Measurement, classes: Array) -> Report:
    baseline, candidate = (accuracy(r.logits, classes) for r in (measurement.baseline, measurement.candidate))
    drop = None if baseline is None or candidate is None else baseline - candidate
    return {
        "baseline_accuracy": baseline,
        "accuracy": candidate,
        "accuracy_drop": drop,
        "baseline_agreement": _closeness(measurement.candidate, measurement.baseline),
    }


def _closeness(candidate: ModelRun, baseline: ModelRun) -> Report:
    """The share of samples with the same class, and how far the logits are apart."""
    ours, theirs = candidate.logits.astype(np.float64), baseline.logits.astype(np.float64)
    difference = np.abs(ours - theirs)
    return {
        "top1": float((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean()),
        "max_abs_diff": float(difference.max()),
        "mean_abs_diff": float(difference.mean()),
    }


def _sizes(pair: Pair) -> Report:
    candidate, baseline = size_metrics(pair.candidate), size_metrics(pair.baseline)
    return {
        **candidate,
        **{f"baseline_{key}": value for key, value in baseline.items()},
        "size_ratio": baseline["size_bytes"] / candidate["size_bytes"],
        "size_gzip_ratio": baseline["size_gzip_bytes"] / candidate["size_gzip_bytes"],
    }


def _latencies(measurement: Measurement) -> Report:
    candidate, baseline = measurement.candidate, measurement.baseline
    return {
        **_percentiles(candidate),
        **{f"baseline_{key}": value for key, value in _percentiles(baseline).items()},
        **_speedups(candidate, baseline),
        **_process(candidate),
        **{f"baseline_{key}": value for key, value in _process(baseline).items()},
        "runtime_version": measurement.runtime_version,
        "op_resolver": measurement.op_resolver,
    }


def _percentiles(run: ModelRun) -> dict[str, float]:
    return {f"p{share}_ms": float(np.percentile(run.durations_ms, share)) for share in (50, 90, 99)}


def _speedups(candidate: ModelRun, baseline: ModelRun) -> dict[str, float]:
    """`speedup` is the ratio of the medians over all rounds, so equal to baseline_p50_ms ÷ p50_ms.

    Since the models took turns, a slow spell of the machine met both. How far the rounds were of one mind
    is told by the 10th and 90th percentile of the ratios of their own medians.
    """
    overall = np.median(baseline.durations_ms) / np.median(candidate.durations_ms)
    rounds = np.median(baseline.durations_ms, axis=1) / np.median(candidate.durations_ms, axis=1)
    low, high = np.percentile(rounds, [10, 90])
    return {"speedup": float(overall), "speedup_round_p10": float(low), "speedup_round_p90": float(high)}


def _process(run: ModelRun) -> Report:
    return {key: getattr(run, key) for key in ("load_ms", "peak_memory_bytes", "idle_memory_bytes")}
