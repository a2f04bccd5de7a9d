"""Times of the nodes of an `.onnx`, from ONNX Runtime's own profiler."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.devices.linux import Processes
from edgepress.profiling.times import Operator, Sitting

_BURST = 10
"""Inferences of a model before it is the next one's turn; one more before them does not count."""

_TICK_MS = 1e-3
"""The profiler tells whole microseconds, rounded down."""


def node_times(
    processes: Processes, models: Sequence[Path], samples: str, layout: str, runs: int
) -> list[Sitting]:
    """The times of each model's nodes after ONNX Runtime's optimisation, the models in turns.

    They come from `runs` inferences or a few more. What the profiler itself takes is in the total.

    Raises:
        DeviceError: a model is absent or broken, has not one input, or crashes.
    """
    for number, (runner, model) in enumerate(zip(processes.runners, models, strict=True)):
        processes.load(number, model, record=processes.there.scratch(f"record-{number}"))
        runner.ask("inputs", path=samples, layout=layout)
    for turn in range(max(2, -(-runs // _BURST)) + 1):
        for runner in processes.runners if turn % 2 else reversed(processes.runners):
            runner.ask("time", runs=_BURST + 1)
    return [_sitting(runner.ask("nodes")) for runner in processes.runners]


def _sitting(record: dict[str, Any]) -> Sitting:
    """Without the first burst, and the first inference of each: the middle half of the others is averaged,
    since a median would be a whole number of ticks.
    """
    counted = [run for run in range(len(record["run_us"])) if run > _BURST and run % (_BURST + 1)]
    durations = np.array(record["durations_us"], float)[counted] / 1e3  # (inferences, nodes)
    total = np.median(np.array(record["run_us"], float)[counted]) / 1e3
    quarter = len(counted) // 4
    ms = np.sort(durations, axis=0)[quarter : len(counted) - quarter].mean(axis=0)
    operators = [Operator(node["operator"], node["name"], tuple(node["shape"])) for node in record["nodes"]]
    return Sitting(operators, ms, float(total), _TICK_MS)
