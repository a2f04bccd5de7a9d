"""What the layers of a candidate and its baseline take on a device."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from edgepress.devices.base import Device, RuntimeName
from edgepress.devices.host import Connection
from edgepress.devices.linux import LinuxDevice
from edgepress.devices.prediction import LAYOUTS
from edgepress.devices.requirements import require_models
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
    device: Device, runtime: RuntimeName, models: Sequence[Path], inputs: Path | None, runs: int
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
    require_models(models)
    layout, sittings = "NCHW" if inputs is None else LAYOUTS[runtime], list[list[Sitting]]()
    with device.connect() as there, _samples(device, there, runtime, models[0], inputs) as path:
        samples = there.put(path)
        for _ in tqdm(range(SITTINGS), desc=f"profiling {runtime}", leave=False, disable=None):
            with device.processes(there, runtime, models) as fresh:
                sittings.append(_TIMES[runtime](fresh, models, samples, layout, -(-runs // SITTINGS)))
    candidate, *others = map(model_times, zip(*sittings, strict=True))
    baseline = others[0] if others else None
    return Profile(runtime, rows(candidate, baseline), candidate, baseline)


@contextmanager
def _samples(
    device: LinuxDevice, there: Connection, runtime: RuntimeName, model: Path, inputs: Path | None
) -> Iterator[Path]:
    """The inputs or, where there are none, a file with a sample for the model."""
    if inputs is not None:
        yield inputs
        return
    with device.processes(there, runtime, [model]) as processes:
        dims = processes.load(0, model)["input"]["dims"]
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "sample.npy"
        shape = [1, *(length or 1 for length in dims[1:])]
        np.save(made, np.random.default_rng(0).random(shape, np.float32))
        yield made
