"""Times of the nodes of an `.onnx`, from ONNX Runtime's own profiler."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.devices.client import Runner
from edgepress.devices.linux import Processes
from edgepress.profiling.times import Operator, Sitting

_BURST = 10
"""Inferences of a model before it is the next one's turn; one more before them does not count."""

_TICK_MS = 1e-3
"""The profiler tells whole microseconds, rounded down."""


def node_times(
    processes: Processes, models: Sequence[Path], samples: Mapping[str, Any], runs: int
) -> list[Sitting]:
    """The times of each model's nodes after ONNX Runtime's optimisation, the models in turns.

    They come from `runs` inferences or a few more, before which as many are timed without the profiler.

    Raises:
        DeviceError: a model is absent or broken, or crashes.
    """
    rounds = max(2, -(-runs // _BURST))
    for number, model in enumerate(models):
        processes.load(number, model)
    plain = _in_turns(processes.runners, samples, rounds)
    for number, model in enumerate(models):
        processes.load(number, model, record=processes.there.scratch(f"record-{number}"))
    _in_turns(processes.runners, samples, rounds)
    records = [runner.ask("nodes") for runner in processes.runners]
    return [_sitting(record, ms) for record, ms in zip(records, plain, strict=True)]


def _in_turns(runners: Sequence[Runner], samples: Mapping[str, Any], rounds: int) -> list[float]:
    """The median of each model's inferences, in ms, once it is warm."""
    durations: list[list[list[int]]] = [[] for _ in runners]
    for runner in runners:
        runner.ask("inputs", **samples)
    for turn in range(rounds + 1):
        numbers = range(len(runners))
        for number in numbers if turn % 2 else reversed(numbers):
            times = runners[number].ask("time", runs=_BURST + 1)["durations_ns"]
            durations[number].append(times[1:])
    return [float(np.median(each[1:])) / 1e6 for each in durations]


def _sitting(record: dict[str, Any], plain_ms: float) -> Sitting:
    """Without the first burst, and the first inference of each: the middle half of the others is averaged,
    since a median would be a whole number of ticks.
    """
    counted = [run for run in range(len(record["run_us"])) if run > _BURST and run % (_BURST + 1)]
    durations = np.array(record["durations_us"], float)[counted] / 1e3  # (inferences, nodes)
    total = np.median(np.array(record["run_us"], float)[counted]) / 1e3
    quarter = len(counted) // 4
    ms = np.sort(durations, axis=0)[quarter : len(counted) - quarter].mean(axis=0)
    operators = [Operator(node["operator"], node["name"], tuple(node["shape"])) for node in record["nodes"]]
    return Sitting(operators, ms, float(total), plain_ms, _TICK_MS)
