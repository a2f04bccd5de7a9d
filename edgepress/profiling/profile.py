"""What the layers of a candidate and its baseline take on a device."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from edgepress.devices.base import Array, Device, Files, Orders, RuntimeName
from edgepress.devices.host import Connection
from edgepress.devices.linux import LinuxDevice
from edgepress.devices.prediction import as_lists, by_name
from edgepress.devices.requirements import require_models
from edgepress.errors import DeviceError
from edgepress.profiling.cuts import cut_times
from edgepress.profiling.nodes import node_times
from edgepress.profiling.rows import Row, rows
from edgepress.profiling.times import SITTINGS, ModelTimes, Sitting, model_times

_TIMES = {"tflite": cut_times, "onnxruntime": node_times}


_OPEN = 32
"""The size that is timed where a model leaves one open, but of the batch."""


@dataclass(frozen=True)
class Profile:
    """The layers of a model and, where there is one, of its baseline, in one runtime."""

    runtime: RuntimeName
    rows: list[Row]
    candidate: ModelTimes
    baseline: ModelTimes | None


def profile(
    device: Device,
    runtime: RuntimeName,
    models: Sequence[Path],
    inputs: Files | None,
    runs: int,
    orders: Orders | None = None,
) -> Profile:
    """Time the operators of a candidate and, if it is given, its baseline.

    `inputs` are samples as `Device.measure` takes them, and `orders` those of a `Pair`; without inputs, a
    random sample is made as the models take it.

    Raises:
        ArtifactError: a `.tflite` is absent or damaged.
        DeviceError: the device tells no times of single operators, or as `Device.measure`.
    """
    if not isinstance(device, LinuxDevice):
        raise DeviceError(
            "this device tells no times of single operators; choose one that does: device=local"
        )
    require_models(models)
    stored = {} if inputs is None or runtime == "onnxruntime" else orders
    sittings = list[list[Sitting]]()
    with device.connect() as there, _samples(device, there, runtime, models[0], inputs) as files:
        samples = {
            "files": {name: there.put(path) for name, path in files.items()},
            "orders": None if stored is None else as_lists(stored),
        }
        for _ in tqdm(range(SITTINGS), desc=f"profiling {runtime}", leave=False, disable=None):
            with device.processes(there, runtime, models) as fresh:
                sittings.append(_TIMES[runtime](fresh, models, samples, -(-runs // SITTINGS)))
    candidate, *others = map(model_times, zip(*sittings, strict=True))
    baseline = others[0] if others else None
    return Profile(runtime, rows(candidate, baseline), candidate, baseline)


@contextmanager
def _samples(
    device: LinuxDevice, there: Connection, runtime: RuntimeName, model: Path, inputs: Files | None
) -> Iterator[dict[str, Path]]:
    """The inputs or, where there are none, files with a sample for the model."""
    if inputs is not None:
        yield by_name(inputs)
        return
    with device.processes(there, runtime, [model]) as processes:
        tensors = processes.load(0, model)["inputs"]
    random, files = np.random.default_rng(0), dict[str, Path]()
    with tempfile.TemporaryDirectory() as folder:
        for number, tensor in enumerate(tensors):
            files[tensor["name"]] = Path(folder) / f"sample-{number}.npy"
            np.save(files[tensor["name"]], _drawn(tensor, random))
        yield files


def _drawn(tensor: Mapping[str, Any], random: np.random.Generator) -> Array:
    """A sample with all axes of an input: floats from [0, 1), or integers 0, which any index may be."""
    sizes = [length or _OPEN for length in tensor["dims"]]
    shape = [1, *(tensor["dims"][:1] and [tensor["dims"][0] or 1]), *sizes[1:]]
    floats = tensor["scale"] is not None or np.dtype(tensor["dtype"]).kind == "f"
    return random.random(shape, np.float32) if floats else np.zeros(shape, tensor["dtype"])
