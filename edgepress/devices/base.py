"""What every device offers: it measures a candidate model against its float32 baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

Files = Path | Mapping[str, Path]
"""The .npy file (N, ...) of each input by its name, or that of an only input."""

Orders = Mapping[str, Sequence[int]]
"""How a model stores the axes of inputs and outputs, by name: its axis i is the network's `order[i]`."""

RuntimeName = Literal["tflite", "onnxruntime"]

Kind = Literal["measured", "emulated", "estimated"]
"""Measured on the device itself, run by an emulator, which is silent on time and memory, or calculated."""


@dataclass(frozen=True)
class Pair:
    """Two models for one runtime; what is said of the candidate is said against the baseline.

    `orders` are those of both, and name the outputs in their order; None where nobody noted any: then images
    of a `.tflite` have their axes as its sizes tell.
    """

    runtime: RuntimeName
    candidate: Path
    baseline: Path
    orders: Orders | None = None

    @property
    def models(self) -> tuple[Path, Path]:
        """Candidate and baseline."""
        return self.candidate, self.baseline

    @property
    def stored(self) -> Orders | None:
        """The orders of its models: an ONNX model has all axes as the network has them."""
        return {} if self.runtime == "onnxruntime" else self.orders


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

    `outputs` are those of `samples` samples by name, joined on the first axis, in the model's own types, such
    as integer codes, with the axes that the network has. `codes` are those of outputs that codes stand
    behind. What a device cannot tell is None; `figures` are what it alone tells.
    """

    outputs: Mapping[str, Array] | None
    codes: Mapping[str, Codes]
    timings: Timings | None
    memory: Memory | None
    figures: Mapping[str, Any] = field(default_factory=dict)
    samples: int = 0

    @property
    def values(self) -> dict[str, Array]:
        """The outputs, where there are any: codes as the numbers that they stand for, floats as float32."""
        assert self.outputs is not None
        return {name: self._number(name, output) for name, output in self.outputs.items()}

    @property
    def output(self) -> Array:
        """The only output, where there are any, in the model's own type."""
        assert self.outputs is not None
        (output,) = self.outputs.values()
        return output

    @property
    def logits(self) -> Array:
        """The only output as float32 (N, classes)."""
        (output,) = self.values.values()
        return output.astype(np.float32)

    @property
    def step(self) -> float | None:
        """The scale of the only output's codes; None where no codes stand behind it."""
        return next((codes.scale for codes in self.codes.values()), None)

    def _number(self, name: str, output: Array) -> Array:
        codes = self.codes.get(name)
        if codes is None or output.dtype.kind not in "iu":
            return output.astype(np.float32) if output.dtype.kind == "f" else output
        centred = output.astype(np.float32) - np.float32(codes.zero_point)
        return np.asarray(centred * np.float32(codes.scale), np.float32)


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

    def measure(self, pair: Pair, inputs: Files) -> Measurement:
        """Time both models in turns, and predict with both for all samples of `inputs`.

        Of networks with large outputs, which are compared and not counted, the first samples are predicted.

        Raises:
            DeviceError: a runtime is missing, or a model is absent, broken, crashes or hangs.
        """
