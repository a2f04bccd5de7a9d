"""Sittings: fresh processes of several models, which take turns."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from edgepress.config.device import Kernels, Timing
from edgepress.devices.base import Array, Conditions, Pair, RuntimeName, Timings
from edgepress.devices.client import Runner, start_runner
from edgepress.devices.host import Connection
from edgepress.devices.prediction import as_lists
from edgepress.devices.statistics import speedup


class Loaded(NamedTuple):
    """A process that is ready to run its model, and what it said when it loaded it."""

    runner: Runner
    model: Path
    answer: dict[str, Any]
    first_ms: float


@dataclass(frozen=True)
class Bench:
    """Where a pair of models runs, on which samples (paths there by input, how many), and what computes."""

    there: Connection
    pair: Pair
    samples: Mapping[str, str]
    count: int
    kernels: Kernels
    timeout_s: float

    def load(self, stack: ExitStack, model: Path) -> Loaded:
        """Start a process, which ends with `stack`, load a model with its inputs, and run it once."""
        runtime, path = self.pair.runtime, self.there.put(model)
        runner = stack.enter_context(start_runner(self.there, runtime, model, self.kernels, self.timeout_s))
        kernels = choice(self.kernels, runtime)
        answer = runner.ask("load", model=path, threads=self.kernels.threads, kernels=kernels)
        stored = self.pair.stored
        orders = None if stored is None else as_lists(stored)
        runner.ask("inputs", files=dict(self.samples), orders=orders)
        (first,) = runner.ask("time", runs=1)["durations_ns"]
        return Loaded(runner, model, answer, first / 1e6)


class Sitting(NamedTuple):
    """What one model's process measured; `durations_ms` (rounds, runs)."""

    durations_ms: Array
    load_ms: float
    first_ms: float
    steady: bool | None
    conditions: Conditions


def take_sittings(bench: Bench, timing: Timing) -> tuple[list[Timings], Conditions]:
    """The timings of candidate and baseline, over as many sittings as the ratio takes to be certain."""

    def take(swap: bool) -> list[Sitting]:
        return sit(bench, bench.pair.models, timing, swap)

    sittings = until_certain(take, timing, f"timing {bench.pair.runtime}")
    conditions = Conditions(sittings[0][0].conditions.before, sittings[-1][0].conditions.after)
    return [timings_of(model) for model in zip(*sittings, strict=True)], conditions


def until_certain(take: Callable[[bool], list[Sitting]], timing: Timing, what: str) -> list[list[Sitting]]:
    """Take sittings of candidate and baseline, every other one the other way round."""
    sittings, begin = list[list[Sitting]](), time.monotonic()
    with tqdm(desc=what, unit=" sittings", leave=False, disable=None) as progress:
        while len(sittings) < timing.sittings or not _enough(sittings, timing, begin):
            sittings.append(take(len(sittings) % 2 == 1))
            progress.update()
    return sittings


def sit(
    bench: Bench, models: Sequence[Path], timing: Timing, swap: bool, batch: int | None = None
) -> list[Sitting]:
    """One sitting; `swap` starts with the last model, as the first may be at an advantage.

    With `batch`, which all of them must be able to take, inferences are of that many samples.
    """
    with ExitStack() as stack:
        order = models[::-1] if swap else models
        loaded = [bench.load(stack, model) for model in order]
        runners = [each.runner for each in loaded]
        for runner in runners if batch else ():
            runner.ask("batch", size=batch)
        steady = [warm_up(runner, timing) for runner in runners]
        before = runners[-1].ask("conditions")
        durations = _in_turns(runners, timing)
        conditions = Conditions(before, runners[-1].ask("conditions"))
    measured = [
        Sitting(times, each.answer["load_ms"], each.first_ms, warm, conditions)
        for times, each, warm in zip(durations, loaded, steady, strict=True)
    ]
    return measured[::-1] if swap else measured


def warm_up(runner: Runner, timing: Timing) -> bool:
    """Run a model until its times are steady, and tell whether they became so."""
    burst = {"runs": timing.runs_per_round, "limit_s": timing.warmup_s}
    return bool(runner.ask("warm_up", takes_s=timing.warmup_s, burst=burst)["steady"])


def timings_of(sittings: Sequence[Sitting]) -> Timings:
    """Those of one model."""
    durations, load, first, steady, _ = zip(*sittings, strict=True)
    return Timings(
        np.array(durations), np.array(load), np.array(first), None if None in steady else all(steady)
    )


def choice(kernels: Kernels, runtime: RuntimeName) -> dict[str, Any]:
    """What computes, as the program is told."""
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


def _enough(sittings: list[list[Sitting]], timing: Timing, begin: float) -> bool:
    candidate, baseline = (timings_of(model).durations_ms for model in zip(*sittings, strict=True))
    narrow = speedup(baseline, candidate).width <= timing.ratio_width
    return narrow or time.monotonic() - begin >= timing.budget_s
