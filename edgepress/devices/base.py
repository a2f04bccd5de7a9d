"""What every device offers: it measures a candidate model against its float32 baseline."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

RuntimeName = Literal["tflite", "onnxruntime"]

Kind = Literal["measured", "emulated", "estimated"]
"""Measured on the device itself, run by an emulator, which is silent on time and memory, or calculated."""


@dataclass(frozen=True)
class Pair:
    """Two models for one runtime; what is said of the candidate is said against the baseline."""

    runtime: RuntimeName
    candidate: Path
    baseline: Path

    @property
    def models(self) -> tuple[Path, Path]:
        """Candidate and baseline."""
        return self.candidate, self.baseline


@dataclass(frozen=True)
class Codes:
    """What the integers of a quantised output mean: (code - zero_point) · scale."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class Timings:
    """One model's times, each sitting in a fresh process.

    `durations_ms` (sittings, rounds, runs) are of single inferences, from an input in the model's own type
    and layout to its output. `load_ms` and `first_ms` (sittings,) are of loading, with the runtime
    imported and the file in the page cache, and of the first inference. `steady` says whether it had warmed
    up in all sittings, None that nobody looked.
    """

    durations_ms: Array
    load_ms: Array
    first_ms: Array
    steady: bool | None


@dataclass(frozen=True)
class Conditions:
    """What changes how fast a machine is, as the program tells it: governor, frequency, temperature, load."""

    before: Mapping[str, Any]
    after: Mapping[str, Any]


@dataclass(frozen=True)
class Memory:
    """The peak of a process with this model alone, of which `idle_bytes` were there before it was loaded."""

    peak_bytes: int
    idle_bytes: int


@dataclass(frozen=True)
class ModelRun:
    """One model on a device.

    `outputs` (N, classes) are in the model's own type: integer codes or float logits. `codes` is None for
    an output that no integer codes stand behind. What a device cannot tell is None; `figures` are what it
    alone tells.
    """

    outputs: Array | None
    codes: Codes | None
    timings: Timings | None
    memory: Memory | None
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def logits(self) -> Array:
        """The outputs, where there are any, as float32 (N, classes)."""
        assert self.outputs is not None
        if self.codes is None or not np.issubdtype(self.outputs.dtype, np.integer):
            return self.outputs.astype(np.float32)
        centred = self.outputs.astype(np.float32) - np.float32(self.codes.zero_point)
        return np.asarray(centred * np.float32(self.codes.scale), np.float32)


@dataclass(frozen=True)
class Measurement:
    """A pair of models, measured in turns on one machine; `machine` holds no name of a single one.

    `conditions` are the machine's before and after the timed inferences, None where nothing was timed.
    """

    pair: Pair
    candidate: ModelRun
    baseline: ModelRun
    machine: dict[str, Any]
    kind: Kind
    runtime_version: str
    op_resolver: str
    conditions: Conditions | None = None


class Device(Protocol):
    """A place where models run, in one runtime or more."""

    runtimes: tuple[RuntimeName, ...]

    def measure(self, pair: Pair, inputs: Path) -> Measurement:
        """Time both models in turns, and predict with both for all samples of `inputs`, a .npy in NCHW.

        Raises:
            DeviceError: a runtime is missing, or a model is absent, broken, crashes or hangs.
        """
