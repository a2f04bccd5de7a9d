"""What `.tflite` models give on this computer, untimed."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from edgepress.artifacts import broken
from edgepress.config.device import Kernels
from edgepress.datasets.numpy_files import map_array, read_array
from edgepress.devices.base import Array, RuntimeName
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

LAYOUTS: dict[RuntimeName, str] = {"tflite": "auto", "onnxruntime": "NCHW"}
"""ONNX models here take NCHW; a `.tflite` takes what its converter made of it, which its shape tells."""


def predict(model: Path, inputs: Path, threads: int) -> Array:
    """The outputs (N, classes) of a `.tflite` for all samples of `inputs`, a .npy in NCHW, untimed.

    Raises:
        DeviceError: as `Device.measure`.
    """
    return of_classifier(predict_any(model, inputs, threads, LAYOUTS["tflite"]), model)


def predict_any(model: Path, inputs: Path, threads: int, layout: str, output: int | None = None) -> Array:
    """As `predict`, for the output of that number, (N, ...) of any rank.

    `layout` NCHW takes the samples as they are stored.
    """
    with tflite_runner(model, inputs, threads, layout, output) as (runner, here):
        return outputs_of(runner, here, count_samples(inputs))


@contextmanager
def tflite_runner(
    model: Path, inputs: Path, threads: int, layout: str, output: int | None = None
) -> Iterator[tuple[Runner, Connection]]:
    """A process with a `.tflite` in LiteRT and its inputs, as `predict_any`."""
    kernels = replace(XNNPACK, threads=threads)
    with LocalHost().connect() as here, start_runner(here, "tflite", model, kernels, TIMEOUT_S) as runner:
        runner.ask("load", model=str(model), threads=threads, output=output)
        runner.ask("inputs", path=str(inputs), layout=layout)
        yield runner, here


def outputs_of(runner: Runner, there: Connection, samples: int) -> Array:
    """The outputs (N, ...) of all samples, a part after the other, so that a slow device is seen to work.

    Raises:
        DeviceError: the device tells other outputs than it says, or of another number of samples.
    """
    parts, done = list[Array](), 0
    progress = tqdm(desc="predicting", unit=" samples", leave=False, disable=None, delay=2)
    with tempfile.TemporaryDirectory() as folder, progress:
        path, here = there.scratch("outputs.npy"), Path(folder) / "outputs.npy"
        progress.total = samples
        while done < samples:
            answer = runner.ask("predict", outputs=path, first=done, seconds=_PART_S)
            there.get(path, here)
            parts.append(_part(here, parts, answer["predicted"]))
            done += answer["predicted"]
            progress.update(answer["predicted"])
    if done != samples:
        raise DeviceError(f"the device predicts for {done} samples of {samples}; {_STRANGE}")
    return np.concatenate(parts)


def _part(path: Path, before: list[Array], predicted: int) -> Array:
    """What the device wrote of its outputs, if it is as much as it says, and like what it wrote before."""
    try:
        with opened(path, refusal=DeviceError) as file:
            part = read_array(file, os.fstat(file.fileno()).st_size)
    except ValueError as error:
        raise DeviceError(f"the device's outputs are no array of numpy's ({error}); {_STRANGE}") from error
    like = before[0] if before else part
    if (
        part.dtype.kind not in "iuf"
        or part.ndim < 1
        or part.dtype != like.dtype
        or part.shape[1:] != like.shape[1:]
    ):
        raise DeviceError(f"the device's outputs are {part.dtype} of shape {part.shape}; {_STRANGE}")
    if len(part) != predicted:
        raise DeviceError(f"the device gives {len(part)} outputs where it says {predicted}; {_STRANGE}")
    return part


def count_samples(inputs: Path) -> int:
    """How many samples a .npy holds.

    Raises:
        ArtifactError: it is damaged.
    """
    try:
        return len(map_array(inputs))
    except (ValueError, TypeError) as error:
        raise broken(inputs, "a numpy array", error) from error


def of_classifier(outputs: Array, model: Path) -> Array:
    """The outputs, if they are (N, classes).

    Raises:
        DeviceError: they are not.
    """
    if outputs.ndim != 2:
        shape = (1, *outputs.shape[1:])
        raise DeviceError(f"{model} gives outputs of shape {shape}; expected (1, classes). Use a classifier.")
    return outputs
