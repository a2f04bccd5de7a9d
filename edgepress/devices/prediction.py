"""What `.tflite` models give on this computer, untimed."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from edgepress.config.device import Kernels
from edgepress.devices.base import Array, RuntimeName
from edgepress.devices.client import Runner, start_runner
from edgepress.devices.host import Connection
from edgepress.devices.local import LocalHost
from edgepress.errors import DeviceError

TIMEOUT_S = 900.0
"""Longer than any request takes; who waits that long waits for a process that hangs."""

XNNPACK = Kernels(1, None, "xnnpack", None, "CPUExecutionProvider")
"""What computes where nobody chooses."""

REFERENCE = replace(XNNPACK, op_resolver="reference")
"""LiteRT's plain kernels, whose results others aim at."""

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
        return outputs_of(runner, here)


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


def outputs_of(runner: Runner, there: Connection) -> Array:
    """The outputs (N, ...) of all samples, a part after the other, so that a slow device is seen to work."""
    parts, done, total = list[Array](), 0, 1
    progress = tqdm(desc="predicting", unit=" samples", leave=False, disable=None, delay=2)
    with tempfile.TemporaryDirectory() as folder, progress:
        path, here = there.scratch("outputs.npy"), Path(folder) / "outputs.npy"
        while done < total:
            answer = runner.ask("predict", outputs=path, first=done, seconds=_PART_S)
            there.get(path, here)
            parts.append(np.load(here, allow_pickle=False))
            done, total = done + answer["predicted"], answer["samples"]
            progress.total = total
            progress.update(answer["predicted"])
    return np.concatenate(parts)


def of_classifier(outputs: Array, model: Path) -> Array:
    """The outputs, if they are (N, classes).

    Raises:
        DeviceError: they are not.
    """
    if outputs.ndim != 2:
        shape = (1, *outputs.shape[1:])
        raise DeviceError(f"{model} gives outputs of shape {shape}; expected (1, classes). Use a classifier.")
    return outputs
