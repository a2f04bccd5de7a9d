"""Measures on any host that runs `runner.py`."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from edgepress.config.device import Kernels, Local, Timing
from edgepress.devices.base import (
    Array,
    Codes,
    Device,
    Measurement,
    Memory,
    ModelRun,
    Pair,
    RuntimeName,
    Timings,
)
from edgepress.devices.client import Runner, start_runner
from edgepress.devices.host import Connection, Host
from edgepress.devices.local import LocalHost
from edgepress.devices.prediction import LAYOUTS, TIMEOUT_S, of_classifier, outputs_of
from edgepress.devices.statistics import speedup
from edgepress.errors import DeviceError


class _Loaded(NamedTuple):
    """A process that is ready to run its model, and what it said when it loaded it."""

    runner: Runner
    model: Path
    answer: dict[str, Any]
    first_ms: float


class _Sitting(NamedTuple):
    """What one model's process measured; `durations_ms` (rounds, runs)."""

    durations_ms: Array
    load_ms: float
    first_ms: float
    steady: bool


def open_local(config: Local) -> Device:
    """This computer, as the configuration has it used."""
    return LinuxDevice(LocalHost(), config.kernels, config.timing)


class LinuxDevice(Device):
    """Runs each model in a fresh process of its own, which imports nothing but its runtime and numpy.

    Candidate and baseline of a runtime are alive at the same time and are timed in turns, A B, B A, …,
    so that a change of the machine's speed meets both; one of them waits while the other runs. Without
    `timing`, as in an emulator, nothing is timed.
    """

    runtimes: tuple[RuntimeName, ...] = ("tflite", "onnxruntime")

    def __init__(
        self, host: Host, kernels: Kernels, timing: Timing | None, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._host, self._kernels, self._timing, self._timeout_s = host, kernels, timing, timeout_s

    def measure(self, pair: Pair, inputs: Path) -> Measurement:
        """See `Device`."""
        for model in (pair.candidate, pair.baseline):
            if not model.exists():
                raise DeviceError(f"{model} does not exist; make it with: dvc repro")
        with self._host.connect() as there:
            samples = there.put(inputs)
            (candidate, baseline), facts = self._predict(there, pair, samples)
            if self._timing is not None:
                timings = self._time(there, pair, samples, self._timing)
                candidate, baseline = (
                    replace(run, timings=each)
                    for run, each in zip((candidate, baseline), timings, strict=True)
                )
        return Measurement(
            pair,
            candidate,
            baseline,
            facts["machine"],
            self._host.kind,
            facts["runtime_version"],
            facts["op_resolver"],
        )

    def _predict(self, there: Connection, pair: Pair, samples: str) -> tuple[list[ModelRun], dict[str, Any]]:
        """Outputs and memory of candidate and baseline, and what ran where."""
        runs, facts = list[ModelRun](), dict[str, Any]()
        for model in (pair.candidate, pair.baseline):
            with ExitStack() as stack:
                loaded = self._load(stack, there, pair.runtime, model, samples)
                stats = loaded.runner.ask("stats")
                facts = facts or stats
                peak, idle = stats["peak_memory_bytes"], stats["idle_memory_bytes"]
                memory = Memory(peak, idle) if self._host.kind == "measured" else None
                runs.append(_run(loaded, memory, of_classifier(outputs_of(loaded.runner, there), model)))
        return runs, facts

    def _time(self, there: Connection, pair: Pair, samples: str, timing: Timing) -> list[Timings]:
        """The timings of candidate and baseline, over as many sittings as the ratio takes to be certain."""
        sittings, begin = list[list[_Sitting]](), time.monotonic()
        with tqdm(desc=f"timing {pair.runtime}", unit=" sittings", leave=False, disable=None) as progress:
            while len(sittings) < timing.sittings or not _enough(sittings, timing, begin):
                sittings.append(self._sit(there, pair, samples, timing, swap=len(sittings) % 2 == 1))
                progress.update()
        return [_timings(model) for model in zip(*sittings, strict=True)]

    def _sit(self, there: Connection, pair: Pair, samples: str, timing: Timing, swap: bool) -> list[_Sitting]:
        """Of candidate and baseline; `swap` starts with the baseline, as the first may be at an advantage."""
        with ExitStack() as stack:
            models = (pair.baseline, pair.candidate) if swap else (pair.candidate, pair.baseline)
            loaded = [self._load(stack, there, pair.runtime, model, samples) for model in models]
            burst = {"runs": timing.runs_per_round, "limit_s": timing.warmup_s}
            steady = [each.runner.ask("warm_up", burst=burst)["steady"] for each in loaded]
            durations = _in_turns([each.runner for each in loaded], timing)
        results = zip(durations, loaded, steady, strict=True)
        measured = [
            _Sitting(times, each.answer["load_ms"], each.first_ms, warm) for times, each, warm in results
        ]
        return measured[::-1] if swap else measured

    def _load(
        self, stack: ExitStack, there: Connection, runtime: RuntimeName, model: Path, samples: str
    ) -> _Loaded:
        """Start a process, which ends with `stack`, load a model with its inputs, and run it once."""
        kernels, path = self._kernels, there.put(model)
        runner = stack.enter_context(start_runner(there, runtime, model, kernels, self._timeout_s))
        answer = runner.ask("load", model=path, threads=kernels.threads, kernels=_choice(kernels, runtime))
        runner.ask("inputs", path=samples, layout=LAYOUTS[runtime])
        (first,) = runner.ask("time", runs=1)["durations_ns"]
        return _Loaded(runner, model, answer, first / 1e6)


def _choice(kernels: Kernels, runtime: RuntimeName) -> dict[str, Any]:
    if runtime == "onnxruntime":
        return {"provider": kernels.execution_provider}
    return {"resolver": kernels.op_resolver, "delegate": kernels.delegate}


def _in_turns(runners: list[Runner], timing: Timing) -> list[Array]:
    """The durations of each model, in milliseconds (rounds, runs_per_round)."""
    durations: list[list[list[int]]] = [[] for _ in runners]
    for number in range(timing.rounds):
        order = range(len(runners)) if number % 2 == 0 else reversed(range(len(runners)))
        for index in order:
            # A first inference, in caches that the other process filled, does not count.
            times = runners[index].ask("time", runs=timing.runs_per_round + 1)["durations_ns"]
            durations[index].append(times[1:])
    return [np.array(each) / 1e6 for each in durations]


def _enough(sittings: list[list[_Sitting]], timing: Timing, begin: float) -> bool:
    candidate, baseline = (_timings(model).durations_ms for model in zip(*sittings, strict=True))
    narrow = speedup(baseline, candidate).width <= timing.ratio_width
    return narrow or time.monotonic() - begin >= timing.budget_s


def _timings(sittings: Sequence[_Sitting]) -> Timings:
    durations, load, first, steady = zip(*sittings, strict=True)
    return Timings(np.array(durations), np.array(load), np.array(first), all(steady))


def _run(loaded: _Loaded, memory: Memory | None, outputs: Array) -> ModelRun:
    scale, zero_point = (loaded.answer["output"][key] for key in ("scale", "zero_point"))
    return ModelRun(outputs, None if scale is None else Codes(scale, zero_point), None, memory)
