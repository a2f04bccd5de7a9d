"""What the layers of a candidate and its baseline take on a device."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from edgepress.devices.base import Device, RuntimeName
from edgepress.devices.linux import LinuxDevice, Processes
from edgepress.devices.prediction import LAYOUTS
from edgepress.errors import DeviceError
from edgepress.profiling.cuts import cut_times
from edgepress.profiling.nodes import node_times
from edgepress.profiling.rows import Row, rows
from edgepress.profiling.times import SITTINGS, ModelTimes, Sitting, model_times

_TIMES = {"tflite": cut_times, "onnxruntime": node_times}


@dataclass(frozen=True)
class Profile:
    """The layers of a model and, where there is one, of its baseline, in one runtime."""

    runtime: RuntimeName
    rows: list[Row]
    candidate: ModelTimes
    baseline: ModelTimes | None


def profile(
    device: Device, runtime: RuntimeName, models: list[Path], inputs: Path | None, runs: int
) -> Profile:
    """Time the operators of a candidate and, if it is given, its baseline.

    `inputs` are samples as `Device.measure` takes them; without, a random one is made as the models take it.

    Raises:
        ArtifactError: a `.tflite` is absent or damaged.
        DeviceError: the device tells no times of single operators, or as `Device.measure`.
    """
    if not isinstance(device, LinuxDevice):
        raise DeviceError(
            "this device tells no times of single operators; choose one that does: device=local"
        )
    for model in models:
        if not model.is_file():
            raise DeviceError(f"{model} does not exist; make it with: dvc repro")
    sittings = [
        _sit(device, runtime, models, inputs, -(-runs // SITTINGS))
        for _ in tqdm(range(SITTINGS), desc=f"profiling {runtime}", leave=False, disable=None)
    ]
    candidate, *others = map(model_times, zip(*sittings, strict=True))
    baseline = others[0] if others else None
    return Profile(runtime, rows(candidate, baseline), candidate, baseline)


def _sit(
    device: LinuxDevice, runtime: RuntimeName, models: list[Path], inputs: Path | None, runs: int
) -> list[Sitting]:
    """Of each model, in fresh processes."""
    with device.processes(runtime, models) as processes, _samples(processes, models, inputs) as samples:
        layout = "NCHW" if inputs is None else LAYOUTS[runtime]
        return _TIMES[runtime](processes, models, processes.there.put(samples), layout, runs)


@contextmanager
def _samples(processes: Processes, models: list[Path], inputs: Path | None) -> Iterator[Path]:
    """The inputs or, where there are none, a file with a sample for the first model."""
    if inputs is not None:
        yield inputs
        return
    path = processes.there.put(models[0])
    loaded = processes.runners[0].ask(
        "load", model=path, threads=processes.threads, kernels=processes.kernels
    )
    shape = [1, *(length or 1 for length in loaded["input"]["dims"][1:])]
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "sample.npy"
        np.save(made, np.random.default_rng(0).random(shape, np.float32))
        yield made
