"""Several `.tflite` models timed in turns, each in a process of its own, and what they compute."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from edgepress.devices.client import Runner
from edgepress.devices.prediction import predict, tflite_runner

_SITTINGS = 10
"""Where a process happens to lie in memory can cost it a tenth, so there are several of each model."""


def timed(models: dict[str, Path], inputs: Path, rounds: int, runs: int) -> dict[str, np.ndarray]:
    """Milliseconds (sittings, rounds, runs) of single inferences on one thread.

    Each sitting has fresh processes; the order turns from round to round.
    """
    sittings = [_sitting(models, inputs, rounds, runs) for _ in range(_SITTINGS)]
    return {name: np.stack([sitting[name] for sitting in sittings]) for name in models}


def _sitting(models: dict[str, Path], inputs: Path, rounds: int, runs: int) -> dict[str, np.ndarray]:
    times: dict[str, list[list[int]]] = {name: [] for name in models}
    with ExitStack() as stack:
        runners = {name: _loaded(stack, model, inputs) for name, model in models.items()}
        for runner in runners.values():
            runner.ask("time", runs=runs)
        for number in range(rounds):
            for name in list(runners)[:: 1 if number % 2 == 0 else -1]:
                times[name].append(runners[name].ask("time", runs=runs + 1)["durations_ns"][1:])
    return {name: np.array(each) / 1e6 for name, each in times.items()}


def _loaded(stack: ExitStack, model: Path, inputs: Path) -> Runner:
    runner, _, _ = stack.enter_context(tflite_runner(model, inputs, 1))
    return runner


def outputs(model: Path, inputs: Path) -> np.ndarray:
    """What a classifier gives for all inputs (N, C, H, W), as numbers where it gives integer codes."""
    return predict(model, inputs, 1).logits
