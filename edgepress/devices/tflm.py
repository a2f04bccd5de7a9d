"""TensorFlow Lite Micro (TFLM), what microcontrollers run, on this computer."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgepress.config.device import Tflm
from edgepress.devices.base import Array, Device, Files, Measurement, ModelRun, Orders, Pair, RuntimeName
from edgepress.devices.client import Runner, start_runner
from edgepress.devices.host import Connection
from edgepress.devices.linux import LinuxDevice
from edgepress.devices.local import LocalConnection, LocalHost, environment, popen
from edgepress.devices.prediction import (
    REFERENCE,
    TIMEOUT_S,
    as_lists,
    by_name,
    count_samples,
    predicted,
)
from edgepress.devices.requirements import require_models, require_package
from edgepress.errors import DeviceError
from edgepress.measure.agreement import is_classifier
from edgepress.measure.inference import same_class

ARENA_STEP = 16
"""TFLM aligns what it puts into the arena to so many bytes."""

_PROGRAM = Path(__file__).with_name("micro.py")
_PLANNING = 256
"""About what TFLM takes above the bytes that it records, for planning: where the search looks first."""

_LARGEST_ARENA = 1 << 30


def open_tflm(_: Tflm) -> Device:
    """TFLM on this computer."""
    require_package("tflm", "tflite_micro", "tflite-micro")
    return TflmDevice()


class TflmDevice(Device):
    """Runs models with TFLM's portable kernels, and finds the smallest arena in which each of them runs.

    Times are those of no microcontroller, so there are none. The arena is that of a 64-bit computer: with
    32-bit pointers it is smaller.
    """

    runtimes: tuple[RuntimeName, ...] = ("tflite",)

    def measure(self, pair: Pair, inputs: Files) -> Measurement:
        """See `Device`; a baseline that TFLM cannot run is run by LiteRT's reference kernels."""
        require_models(pair.models)
        with connect() as here:
            candidate, baseline = (MicroModel(here, model, inputs, pair.orders) for model in pair.models)
            candidate.refuse_lacking()
            recorded = candidate.try_out()
            other_recorded, remark = _try_baseline(baseline)
            reference = LinuxDevice(LocalHost(), REFERENCE, None).measure(pair, inputs)
            run, facts = candidate.run(recorded, reference.candidate)
            if other_recorded is None:
                other = _unable(reference.baseline, remark)
            else:
                other, _ = baseline.run(other_recorded, reference.baseline)
        version, resolver = facts["runtime_version"], facts["op_resolver"]
        return Measurement(pair, run, other, facts["machine"], "emulated", version, resolver)


class MicroModel:
    """A model in TFLM, with a fresh process for everything that is asked of it."""

    def __init__(self, here: Connection, model: Path, inputs: Files, orders: Orders | None = None) -> None:
        self._here, self._model, self._inputs, self._orders = here, model, inputs, orders

    def lacking(self) -> list[str]:
        """The operators that TFLM has no kernel for."""
        with start_runner(self._here, "tflite", self._model, REFERENCE, TIMEOUT_S) as runner:
            names: list[str] = runner.ask("lacking", model=str(self._model))["operators"]
        return names

    def refuse_lacking(self) -> None:
        """Say what TFLM has no kernel for, all of it, before anything runs.

        Raises:
            DeviceError: there is such an operator.
        """
        names = self.lacking()
        if names:
            what = f"{self._model} has operators that TensorFlow Lite Micro has no kernel for"
            raise DeviceError(f"{what}: {', '.join(names)}; use a network without them or another device")

    def try_out(self) -> int:
        """Run it once with room to spare; the bytes of the arena that TFLM recorded.

        Raises:
            DeviceError: TFLM cannot run it.
        """
        with self._loaded(None) as (runner, _):
            runner.ask("time", runs=1)
            recorded: int = runner.ask("allocations")["arena_bytes"]
        return recorded

    def fits(self, arena_bytes: int) -> bool:
        """Whether it runs in an arena of so many bytes; where it does not, TFLM says so or crashes."""
        try:
            with self._loaded(arena_bytes) as (runner, _):
                runner.ask("time", runs=1)
        except DeviceError:
            return False
        return True

    def smallest_arena(self, recorded_bytes: int) -> int:
        """The bytes of the smallest arena in which it runs, by bisection in steps of ARENA_STEP.

        The search begins around `recorded_bytes`; wherever that lies, it ends at the same place.

        Raises:
            DeviceError: it is larger than any that makes sense.
        """
        low, high, guess = 0, _steps(recorded_bytes + _PLANNING), _steps(recorded_bytes) - 1
        while not self.fits(ARENA_STEP * high):
            if high > _steps(_LARGEST_ARENA):
                raise DeviceError(
                    f"{self._model} runs in no arena of {_LARGEST_ARENA} bytes; use another device"
                )
            low, high = high, 2 * high
        while high - low > 1:
            middle = guess if low < guess < high else (low + high) // 2
            low, high = (low, middle) if self.fits(ARENA_STEP * middle) else (middle, high)
        return ARENA_STEP * high

    def run(self, recorded_bytes: int, reference: ModelRun) -> tuple[ModelRun, dict[str, Any]]:
        """It in the smallest arena, for all samples, and what ran where; `reference` is it in LiteRT."""
        arena = self.smallest_arena(recorded_bytes)
        with self._loaded(arena) as (runner, ends):
            facts = runner.ask("stats")
            samples = count_samples(self._inputs)
            found = predicted(runner, self._here, ends, samples, self._orders)
        own = replace(found, codes=reference.codes)
        figures = {"tensor_arena_bytes": arena, "reference_agreement": _agreement(own, reference)}
        return replace(own, figures=figures), facts

    @contextmanager
    def _loaded(self, arena_bytes: int | None) -> Iterator[tuple[Runner, Mapping[str, Any]]]:
        with start_runner(self._here, "tflite", self._model, REFERENCE, TIMEOUT_S) as runner:
            kernels = {"arena_bytes": arena_bytes}
            ends = runner.ask("load", model=str(self._model), threads=1, kernels=kernels)
            files = {name: str(path) for name, path in by_name(self._inputs).items()}
            runner.ask("inputs", files=files, orders=self._orders and as_lists(self._orders))
            yield runner, ends


class _MicroConnection(LocalConnection):
    repair = "pip install -e '.[tflm]'"

    def start(self, threads: int, log: IO[bytes]) -> "subprocess.Popen[str]":
        # -P: the folder of the program holds a statistics.py, which is not Python's.
        variables = {**environment(threads), "PYTHONPATH": str(_PROGRAM.parents[2])}
        return popen([sys.executable, "-P", "-s", str(_PROGRAM)], log, variables)


def _steps(arena_bytes: int) -> int:
    return arena_bytes // ARENA_STEP


@contextmanager
def connect() -> Iterator[Connection]:
    """This computer, whose processes run TFLM."""
    with tempfile.TemporaryDirectory() as folder:
        yield _MicroConnection(Path(folder))


def _try_baseline(baseline: MicroModel) -> tuple[int | None, str | None]:
    """The bytes that TFLM recorded, or why it cannot run it."""
    lacking = baseline.lacking()
    if lacking:
        return None, f"TensorFlow Lite Micro has no kernel for: {', '.join(lacking)}"
    try:
        return baseline.try_out(), None
    except DeviceError as error:
        return None, str(error)


def _unable(reference: ModelRun, remark: str | None) -> ModelRun:
    """A model that TFLM cannot run, as LiteRT's reference kernels run it."""
    figures = {"tensor_arena_bytes": None, "reference_agreement": None, "remark": remark}
    return replace(reference, memory=None, figures=figures)


def _agreement(ours: ModelRun, reference: ModelRun) -> Mapping[str, float | None]:
    """The share of samples of the same class, and the share of numbers that are the same, bit for bit.

    Of outputs that are no classes, `top1` is None.
    """
    assert ours.outputs is not None
    assert reference.outputs is not None
    pairs = [(ours.outputs[name], theirs) for name, theirs in reference.outputs.items()]
    return {
        "top1": same_class(*pairs[0]) if is_classifier(reference.values, reference.samples) else None,
        "identical": float(np.mean(np.concatenate([_same(*pair) for pair in pairs]))),
    }


def _same(ours: Array, theirs: Array) -> Array:
    """Which numbers are the same; none where there is another number of them."""
    return np.ravel(ours == theirs) if ours.shape == theirs.shape else np.zeros(theirs.size, bool)
