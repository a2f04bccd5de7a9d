"""Sections on what the models cost: int8 against float32, and one converter against the other."""

import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from edgepress.convert.flatbuffer import tflite_metrics
from edgepress.devices.base import Pair
from edgepress.devices.registry import open_device
from edgepress.report.metrics import Metrics
from tests.bench.figures import table
from tests.bench.workspace import DEFAULT, RUNTIMES, Bench, compose, keep, repro, say

CONVERTERS = ("nhwc", "onnx_tf")
OTHERS = ("mobilenet_v1", "ds_cnn", "mlp")
FORMATS = {"float32": "export-onnx", "int8": "quantize"}
"""The stage whose ONNX model is in each number format."""

_VARIANT = ("prune=none", "cluster=none", "quant=int8", "train.epochs=2")


@dataclass(frozen=True)
class _Converted:
    """What one converter made of a model, and what each of its processes said of the time it took."""

    target: Path
    times: list[dict[str, float]] = field(default_factory=list)

    def seconds(self) -> tuple[str, str]:
        """Medians for importing and for converting."""
        imported, converted = (
            statistics.median(t[key] for t in self.times) for key in ("import_s", "convert_s")
        )
        return f"{imported:.1f}", f"{converted:.1f}"


def int8_latency(bench: Bench) -> str:
    """Candidate against baseline, as the pipeline's own `evaluate-on-device` measured them in turns."""
    rows = [row for name in _networks(bench) for row in _latency_rows(bench, name)]
    heads = ("network", "runtime", "float32 ms", "int8 ms", "speed-up", "low", "high")
    note = "low, high: the 95% confidence interval of the speed-up. " + _origin(bench)
    return table(heads, rows) + "\n" + note


def converters(bench: Bench) -> str:
    """Each network through both converters, each conversion in a fresh process."""
    rows = [
        row
        for name in _networks(bench)
        for number_format, stage in FORMATS.items()
        for row in _converter_rows(bench, name, number_format, stage)
    ]
    heads = (
        "network",
        "format",
        "converter",
        "ops",
        "transposes",
        "p50 ms",
        "ratio",
        "import s",
        "convert s",
    )
    note = "p50: timed in turns; ratio: of the medians, to the first converter's. "
    return table(heads, rows) + "\n" + note + _origin(bench)


def _networks(bench: Bench) -> list[str]:
    """The names under which runs are kept; networks that did not run yet are trained, briefly."""
    names = [DEFAULT] if bench.quick else [DEFAULT, *OTHERS]
    for name in names:
        if not (bench.kept / name).exists():
            say(f"{name}, trained briefly:")
            compose(bench.project, f"model={name}", *_VARIANT)
            repro(bench.project)
            keep(bench, name)
    return names


def _origin(bench: Bench) -> str:
    """What the networks are."""
    if bench.quick:
        return f"{DEFAULT}: a tiny ResNet-8."
    return f"{DEFAULT}: the default composition (ResNet-8); the others: 2 epochs, int8 alone."


def _latency_rows(bench: Bench, name: str) -> list[tuple[str, ...]]:
    latency = Metrics(bench.kept / name / "metrics/latency.json")
    return [(name, runtime, *_speedup(latency.below(runtime))) for runtime in RUNTIMES]


def _speedup(latency: Metrics) -> tuple[str, ...]:
    durations = (f"{latency.number(key):.3f}" for key in ("baseline_p50_ms", "p50_ms"))
    speedups = (f"{latency.number(key):.2f}" for key in ("speedup", "speedup_low", "speedup_high"))
    return (*durations, *speedups)


def _converter_rows(bench: Bench, name: str, number_format: str, stage: str) -> list[tuple[str, ...]]:
    converted = _convert_in_turns(bench, bench.kept / name / "models" / stage / "model.onnx")
    medians = _latencies(bench, [each.target for each in converted.values()])
    return [
        (
            name,
            number_format,
            converter,
            *_inside(each.target),
            f"{p50:.3f}",
            f"{p50 / medians[0]:.2f}",
            *each.seconds(),
        )
        for (converter, each), p50 in zip(converted.items(), medians, strict=True)
    ]


def _convert_in_turns(bench: Bench, model: Path) -> dict[str, _Converted]:
    """A model through each converter, a few times."""
    converted = {name: _Converted(model.with_name(f"{name}.tflite")) for name in CONVERTERS}
    label = f"converting {'/'.join(model.parts[-4:-1])}"
    for _ in tqdm(range(1 if bench.quick else 3), desc=label, unit="round", leave=False, disable=None):
        for name, each in converted.items():
            each.times.append(_convert_once(bench, name, model, each.target))
    return converted


def _convert_once(bench: Bench, converter: str, model: Path, target: Path) -> dict[str, float]:
    calibration = bench.project.folder / "data/prepared/calibration"
    arguments = [converter, *map(str, (model, calibration, target))]
    done = bench.project.run("python", "-m", "tests.bench.convert_once", *arguments)
    seconds: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def _latencies(bench: Bench, targets: list[Path]) -> list[float]:
    """Median milliseconds of an inference with each of two models, timed in turns."""
    measured = open_device(bench.device()).measure(Pair("tflite", targets[0], targets[1]), bench.test_inputs)
    timings = [run.timings for run in (measured.candidate, measured.baseline)]
    return [float(np.median(each.durations_ms)) for each in timings if each is not None]


def _inside(target: Path) -> tuple[str, str]:
    metrics = tflite_metrics(target)
    return str(metrics["ops"]), str(metrics["transpose_ops"])
