"""What every device offers: it measures a candidate model against its float32 baseline."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

RuntimeName = Literal["tflite", "onnxruntime"]
Kind = Literal["measured"]


@dataclass(frozen=True)
class Pair:
    """Two models for one runtime; what is said of the candidate is said against the baseline."""

    runtime: RuntimeName
    candidate: Path
    baseline: Path


@dataclass(frozen=True)
class Codes:
    """What the integers of a quantised output mean: (code - zero_point) · scale."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class ModelRun:
    """One model on a device.

    `outputs` (N, classes) are in the model's own type: integer codes or float logits. `codes` is None for
    an output that no integer codes stand behind. `durations_ms` (rounds, runs) are of single inferences,
    from an input in the model's own type and layout to its output. `peak_memory_bytes` is that of a process
    with this model alone, of which `idle_memory_bytes` were there before the model was loaded.
    """

    outputs: Array
    codes: Codes | None
    durations_ms: Array
    load_ms: float
    peak_memory_bytes: int
    idle_memory_bytes: int

    @property
    def logits(self) -> Array:
        """The outputs as float32 (N, classes)."""
        if self.codes is None or not np.issubdtype(self.outputs.dtype, np.integer):
            return self.outputs.astype(np.float32)
        centred = self.outputs.astype(np.float32) - np.float32(self.codes.zero_point)
        return np.asarray(centred * np.float32(self.codes.scale), np.float32)


@dataclass(frozen=True)
class Measurement:
    """A pair of models, measured in turns on one machine; `machine` holds no name of a single one."""

    pair: Pair
    candidate: ModelRun
    baseline: ModelRun
    machine: dict[str, Any]
    kind: Kind
    runtime_version: str
    op_resolver: str


class Device(Protocol):
    """A place where models run."""

    def measure(self, pair: Pair, inputs: Path) -> Measurement:
        """Time both models in turns, then predict with both for all samples of `inputs`, a .npy in NCHW.

        Raises:
            DeviceError: a runtime is missing, or a model is absent, broken, crashes or hangs.
        """
