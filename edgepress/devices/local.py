"""This computer as a device."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from edgepress.config.device import Local
from edgepress.devices.base import Array, Codes, Device, Measurement, ModelRun, Pair
from edgepress.devices.client import Runner, start_runner
from edgepress.errors import DeviceError

TIMEOUT_S = 900.0
"""Longer than any request takes; who waits that long waits for a process that hangs."""

_LAYOUTS = {"tflite": "auto", "onnxruntime": "NCHW"}
"""ONNX models here take NCHW; a `.tflite` takes what its converter made of it, which its shape tells."""


class _Loaded(NamedTuple):
    """A process that is ready to run its model, and what it said when it loaded it."""

    runner: Runner
    model: Path
    answer: dict[str, Any]


class LocalDevice(Device):
    """Runs each model in a fresh process of its own, which imports nothing but its runtime and numpy.

    Candidate and baseline of a runtime are alive at the same time and are timed in turns, A B, B A, …,
    so that a change of the machine's speed meets both; one of them waits while the other runs.
    """

    def __init__(self, config: Local, timeout_s: float = TIMEOUT_S) -> None:
        self._config = config
        self._timeout_s = timeout_s

    def measure(self, pair: Pair, inputs: Path) -> Measurement:
        """See `Device`."""
        with ExitStack() as stack:
            models = (pair.candidate, pair.baseline)
            loaded = [self._load(stack, pair, model, inputs) for model in models]
            durations = self._time_in_turns(loaded, pair.runtime)
            stats = [each.runner.ask("stats") for each in loaded]
            outputs = [_predict(each) for each in loaded]
        runs = [_run(*each) for each in zip(loaded, durations, stats, outputs, strict=True)]
        facts = {key: stats[0][key] for key in ("machine", "runtime_version", "op_resolver")}
        return Measurement(pair=pair, candidate=runs[0], baseline=runs[1], kind="measured", **facts)

    def _load(self, stack: ExitStack, pair: Pair, model: Path, inputs: Path) -> _Loaded:
        """Start a process, which ends with `stack`, and load a model with its inputs; then warm up."""
        if not model.exists():
            raise DeviceError(f"{model} does not exist; make it with: dvc repro")
        threads = self._config.threads
        runner = stack.enter_context(start_runner(pair.runtime, model, threads, self._timeout_s))
        runner.ask("start", runtime=pair.runtime)
        answer = runner.ask("load", model=str(model), threads=threads)
        runner.ask("inputs", path=str(inputs), layout=_LAYOUTS[pair.runtime])
        runner.ask("time", runs=self._config.warmup_runs)
        return _Loaded(runner, model, answer)

    def _time_in_turns(self, loaded: list[_Loaded], runtime: str) -> list[Array]:
        """The durations of each model, in milliseconds (rounds, runs_per_round)."""
        durations: list[list[list[int]]] = [[] for _ in loaded]
        for number in tqdm(range(self._config.rounds), desc=f"timing {runtime}", leave=False, disable=None):
            order = range(len(loaded)) if number % 2 == 0 else reversed(range(len(loaded)))
            for index in order:
                durations[index].append(self._time_round(loaded[index].runner))
        return [np.array(each) / 1e6 for each in durations]

    def _time_round(self, runner: Runner) -> list[int]:
        """Durations in ns; a first inference, in caches that the other process filled, does not count."""
        times: list[int] = runner.ask("time", runs=self._config.runs_per_round + 1)["durations_ns"]
        return times[1:]


def predict(model: Path, inputs: Path, threads: int) -> Array:
    """The outputs (N, classes) of a `.tflite` for all samples of `inputs`, a .npy in NCHW, untimed.

    Raises:
        DeviceError: as `Device.measure`.
    """
    return _of_classifier(_predicted(model, inputs, threads, _LAYOUTS["tflite"]), model)


def predict_any(model: Path, inputs: Path, threads: int, layout: str, output: int) -> Array:
    """As `predict`, for the output of that number, (N, ...) of any rank.

    `layout` NCHW takes the samples as they are stored.
    """
    return _predicted(model, inputs, threads, layout, output=output)


def _predicted(model: Path, inputs: Path, threads: int, layout: str, **choice: int) -> Array:
    with start_runner("tflite", model, threads, TIMEOUT_S) as runner:
        runner.ask("start", runtime="tflite")
        answer = runner.ask("load", model=str(model), threads=threads, **choice)
        runner.ask("inputs", path=str(inputs), layout=layout)
        return _predict_any(_Loaded(runner, model, answer))


def _predict(loaded: _Loaded) -> Array:
    """The outputs (N, classes) of all samples."""
    return _of_classifier(_predict_any(loaded), loaded.model)


def _predict_any(loaded: _Loaded) -> Array:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outputs.npy"
        loaded.runner.ask("predict", outputs=str(path))
        outputs: Array = np.load(path, allow_pickle=False)
    return outputs


def _of_classifier(outputs: Array, model: Path) -> Array:
    if outputs.ndim != 2:
        shape = (1, *outputs.shape[1:])
        raise DeviceError(f"{model} gives outputs of shape {shape}; expected (1, classes). Use a classifier.")
    return outputs


def _run(loaded: _Loaded, durations_ms: Array, stats: dict[str, Any], outputs: Array) -> ModelRun:
    scale, zero_point = (loaded.answer["output"][key] for key in ("scale", "zero_point"))
    return ModelRun(
        outputs=outputs,
        codes=None if scale is None else Codes(scale, zero_point),
        durations_ms=durations_ms,
        load_ms=loaded.answer["load_ms"],
        peak_memory_bytes=stats["peak_memory_bytes"],
        idle_memory_bytes=stats["idle_memory_bytes"],
    )
