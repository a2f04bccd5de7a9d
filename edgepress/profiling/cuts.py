"""Times of the operators of a `.tflite`, of which LiteRT tells nothing: its beginnings are run in turns.

What an operator takes is what the beginning that ends with it takes longer than the one before. That is exact
where operators run one after the other. Where a kernel does several at once, a cut between them parts what
is whole in the model; if that makes the longer beginning the faster one, the two operators are joined.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.convert.cutting import Cuts, read_cuts
from edgepress.devices.base import Array
from edgepress.devices.linux import Processes
from edgepress.profiling.times import Operator, Sitting

_BURST = 5
"""Invocations of a beginning before it is the next one's turn; one more before them does not count."""

_BLOCK_BYTES = 256e6
"""Of models at most: the beginnings that are loaded at the same time each have their own copy of weights."""

_SMALLEST_BLOCK, _LARGEST_BLOCK = 3, 16


def cut_times(
    processes: Processes, models: Sequence[Path], samples: Mapping[str, Any], runs: int
) -> list[Sitting]:
    """The times of each model's operators, the models in turns, from `runs` invocations or a few more.

    Raises:
        ArtifactError: a model is absent or damaged.
        DeviceError: a model crashes, or a delegate takes none of it.
    """
    for number, model in enumerate(models):
        processes.load(number, model)
    cuts = [read_cuts(model) for model in models]
    rounds = max(2, -(-runs // _BURST))
    found: list[list[Array]] = [[] for _ in models]
    blocks = [_blocks(*each) for each in zip(cuts, models, strict=True)]
    for block in itertools.zip_longest(*blocks):
        ends = {number: each for number, each in enumerate(block) if each is not None}
        for number, each in ends.items():
            _load(processes, number, models[number], cuts[number], each)
            processes.runners[number].ask("inputs", **samples)
        for number, times in _in_turns(processes, list(ends), rounds).items():
            found[number].append(times)
    return [_sitting(*each) for each in zip(cuts, found, strict=True)]


def _blocks(cuts: Cuts, model: Path) -> list[list[dict[str, Any]]]:
    """Where beginnings end that are loaded at the same time; each begins with the last one's longest."""
    ends = [{"operators": 0, "outputs": cuts.inputs}]
    ends += [{"operators": step.end, "outputs": step.outputs} for step in cuts.steps]
    room = int(_BLOCK_BYTES / model.stat().st_size)
    size = min(max(room, _SMALLEST_BLOCK), _LARGEST_BLOCK)
    return [ends[begin : begin + size] for begin in range(0, len(ends) - 1, size - 1)]


def _load(processes: Processes, number: int, model: Path, cuts: Cuts, ends: list[dict[str, Any]]) -> None:
    processes.runners[number].ask(
        "cuts",
        model=processes.there.put(model),
        threads=processes.threads,
        places=cuts.places,
        ends=ends,
        scratch=processes.there.scratch(f"beginning-{number}.tflite"),
        kernels=processes.kernels,
    )


def _in_turns(processes: Processes, numbers: Sequence[int], rounds: int) -> dict[int, Array]:
    """What each beginning takes in each round (rounds, beginnings), in ms, once it is warm.

    Which is the least of a burst, since other processes make some invocations longer and none shorter.
    """
    times: dict[int, list[Array]] = {number: [] for number in numbers}
    for turn in range(rounds + 1):
        for number in numbers if turn % 2 else reversed(numbers):
            durations = processes.runners[number].ask("time_cuts", runs=_BURST)["durations_ns"]
            times[number].append(np.min(durations, axis=1) / 1e6)
    return {number: np.array(each[1:]) for number, each in times.items()}


def _sitting(cuts: Cuts, blocks: Sequence[Array]) -> Sitting:
    """From the times of all blocks (rounds, beginnings); differences are taken within a round."""
    names = [step.name if cuts.onnx_names else _name(step.name) for step in cuts.steps]
    operators = [
        Operator(step.operator, name, step.shape) for step, name in zip(cuts.steps, names, strict=True)
    ]
    differences = [np.median(np.diff(times, axis=1), axis=0) for times in blocks]
    return Sitting(operators, np.concatenate(differences), float(np.median(blocks[-1][:, -1])))


def _name(tensor: str) -> str:
    """Of the names that are joined in a tensor's, the first, if it is a path and so the network's own.

    Those such as `Conv2D_4` count the operators of one file, and say nothing of another.
    """
    first = tensor.split(";")[0]
    return first if "/" in first or "." in first else ""
