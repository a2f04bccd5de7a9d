"""What `.tflite` models give on this computer, untimed."""

import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from edgepress.artifacts import broken
from edgepress.config.device import Kernels
from edgepress.datasets.numpy_files import map_array, read_array
from edgepress.datasets.samples import INPUT
from edgepress.devices.base import Array, Codes, Files, ModelRun, Orders
from edgepress.devices.client import Runner, start_runner
from edgepress.devices.host import Connection
from edgepress.devices.local import LocalHost
from edgepress.errors import DeviceError
from edgepress.files import opened

TIMEOUT_S = 900.0
"""Longer than any request takes; who waits that long waits for a process that hangs."""

XNNPACK = Kernels(1, None, "xnnpack", None, "CPUExecutionProvider")
"""What computes where nobody chooses."""

REFERENCE = replace(XNNPACK, op_resolver="reference")
"""LiteRT's plain kernels, whose results others aim at."""

_STRANGE = "is it our program that runs there?"
_PART_S = 5.0
"""How long a device predicts before it tells."""

MOST_ELEMENTS = 1 << 25
"""Of all outputs together, but of classes: from there on no further samples are predicted."""


def predict(model: Path, inputs: Files, threads: int, orders: Orders | None = None) -> ModelRun:
    """What a `.tflite` gives for all samples of its inputs, untimed; for the first where outputs are large.

    Raises:
        DeviceError: as `Device.measure`.
    """
    with tflite_runner(model, inputs, threads, orders) as (runner, here, ends):
        return predicted(runner, here, ends, count_samples(inputs), orders)


@contextmanager
def tflite_runner(
    model: Path, inputs: Files, threads: int, orders: Orders | None = None
) -> Iterator[tuple[Runner, Connection, Mapping[str, Any]]]:
    """A process with a `.tflite` in LiteRT and its inputs, and what it tells of the model's ends."""
    kernels = replace(XNNPACK, threads=threads)
    with LocalHost().connect() as here, start_runner(here, "tflite", model, kernels, TIMEOUT_S) as runner:
        answer = runner.ask("load", model=str(model), threads=threads)
        there = {name: str(path) for name, path in by_name(inputs).items()}
        runner.ask("inputs", files=there, orders=orders and as_lists(orders))
        yield runner, here, answer


def by_name(inputs: Files) -> dict[str, Path]:
    """The file of each input; an only one is that of the pipeline's only input."""
    return {INPUT: inputs} if isinstance(inputs, Path) else dict(inputs)


def as_lists(orders: Orders) -> dict[str, list[int]]:
    """Orders as JSON has them."""
    return {name: list(order) for name, order in orders.items()}


def predicted(
    runner: Runner, there: Connection, ends: Mapping[str, Any], samples: int, orders: Orders | None
) -> ModelRun:
    """The outputs of a process's model for so many samples, which told its `ends` when it loaded it.

    Outputs get the names that `orders` have for them, if these are as many, and the network's axes.

    Raises:
        DeviceError: as `outputs_of`.
    """
    found, done = outputs_of(runner, there, ends["outputs"], samples)
    outputs, codes = dict[str, Array](), dict[str, Codes]()
    for name, output, tensor in zip(_names(ends, orders), found, ends["outputs"], strict=True):
        order = (orders or {}).get(name, ())
        outputs[name] = np.transpose(output, np.argsort(order)) if len(order) == output.ndim else output
        if tensor["scale"] is not None:
            codes[name] = Codes(tensor["scale"], tensor["zero_point"])
    return ModelRun(outputs, codes, None, None, samples=done)


def _names(ends: Mapping[str, Any], orders: Orders | None) -> list[str]:
    """What outputs are called: as the network calls them, where that is noted."""
    own = [tensor["name"] for tensor in ends["outputs"]]
    noted = list(orders or {})[len(ends["inputs"]) :]
    if not set(own) <= set(orders or {}) and len(noted) == len(own):
        return noted
    return own if len(set(own)) == len(own) else [f"{name}:{i}" for i, name in enumerate(own)]


def outputs_of(
    runner: Runner, there: Connection, tensors: Sequence[Mapping[str, Any]], samples: int
) -> tuple[list[Array], int]:
    """Each output of all samples, joined on the first axis, and of how many samples these are.

    They come a part after the other, so that a slow device is seen to work. Large outputs of networks that
    are no classifiers end before all samples, see `MOST_ELEMENTS`.

    Raises:
        DeviceError: the device tells other outputs than it says, or of another number of samples.
    """
    parts, done, elements = [list[Array]() for _ in tensors], 0, 0
    most = math.inf if [len(each["dims"]) for each in tensors] == [2] else MOST_ELEMENTS
    progress = tqdm(desc="predicting", unit=" samples", leave=False, disable=None, delay=2)
    with tempfile.TemporaryDirectory() as folder, progress:
        paths = [there.scratch(f"outputs-{number}.npy") for number in range(len(tensors))]
        here, progress.total = Path(folder) / "outputs.npy", samples
        while done < samples and elements < most:
            answer = runner.ask("predict", outputs=paths, first=done, seconds=_PART_S)
            for path, tensor, own in zip(paths, tensors, parts, strict=True):
                there.get(path, here)
                own.append(_part(here, own, tensor, answer["predicted"]))
                elements += own[-1].size
            done += answer["predicted"]
            progress.update(answer["predicted"])
    if done > samples:
        raise DeviceError(f"the device predicts for {done} samples of {samples}; {_STRANGE}")
    wanted = min(done, -(-int(most) * done // elements)) if elements >= most else done
    return [_first(_joined(own), done, wanted) for own in parts], wanted


def _first(output: Array, samples: int, wanted: int) -> Array:
    """What an output has of the first samples: how many are compared must not depend on a device's speed."""
    return output if len(output) % samples else output[: len(output) // samples * wanted]


def _joined(parts: list[Array]) -> Array:
    """All parts on the first axis; where their sizes differ, their elements one after the other."""
    alike = len({part.shape[1:] for part in parts}) == 1
    return np.concatenate(parts if alike else [part.reshape(-1) for part in parts])


def _part(path: Path, before: list[Array], tensor: Mapping[str, Any], predicted: int) -> Array:
    """What the device wrote of an output, if it is as much as it says, and like what it wrote before."""
    try:
        with opened(path, refusal=DeviceError) as file:
            part = read_array(file, os.fstat(file.fileno()).st_size)
    except ValueError as error:
        raise DeviceError(f"the device's outputs are no array of numpy's ({error}); {_STRANGE}") from error
    like = before[0] if before else part
    if part.dtype.kind not in "iufb" or part.ndim < 1 or part.dtype != like.dtype:
        raise DeviceError(f"the device's outputs are {part.dtype} of shape {part.shape}; {_STRANGE}")
    fixed = None not in tensor["dims"] and tensor["dims"][:1] == [1]
    if fixed and (len(part) != predicted or part.shape[1:] != like.shape[1:]):
        raise DeviceError(f"the device gives {len(part)} outputs where it says {predicted}; {_STRANGE}")
    return part


def count_samples(inputs: Files) -> int:
    """How many samples the files of inputs hold.

    Raises:
        ArtifactError: one is damaged, or holds another number than the others.
    """
    counts = {path: _count(path) for path in by_name(inputs).values()}
    for path, count in counts.items():
        if count != next(iter(counts.values())):
            raise broken(path, "as many samples as the other inputs", f"{count} samples")
    return next(iter(counts.values()))


def _count(path: Path) -> int:
    try:
        return len(map_array(path))
    except (ValueError, TypeError) as error:
        raise broken(path, "a numpy array", error) from error
