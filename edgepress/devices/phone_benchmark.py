"""LiteRT's benchmark program on a phone: times without outputs."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepress.config.device import Kernels, Timing
from edgepress.devices.base import Conditions, Device, Files, Measurement, ModelRun, Pair, RuntimeName
from edgepress.devices.phone import Phone
from edgepress.devices.prediction import TIMEOUT_S
from edgepress.devices.requirements import require_models
from edgepress.devices.sittings import Sitting, timings_of, until_certain
from edgepress.errors import DeviceError
from edgepress.text import one_line, shown

_TIMED = re.compile(r"count=\d+ first=.* median=(?P<median>[\d.e+]+)")
_STARTED = re.compile(r"Init: (?P<init>[\d.e+]+), First inference: (?P<first>[\d.e+]+)")
_DELEGATED = re.compile(
    r"Explicitly applied (\w+) delegate, and the model graph will be (completely|partially)"
)
_REFUSED = "model graph will not be executed by the delegate"

_LINE = 1000
_LONGEST_MS = 1e9

_UNTOLD = {"p90_ms": None, "p99_ms": None}
"""The program tells a median; percentiles of medians would be taken for those of inferences."""


@dataclass(frozen=True)
class Found:
    """What a run of the program said of one model; times in milliseconds, `median_ms` of one inference."""

    init_ms: float
    first_ms: float
    median_ms: float
    kernels: str

    @property
    def sitting(self) -> Sitting:
        """It as one sitting; whether it had warmed up nobody knows."""
        return Sitting(np.array([[self.median_ms]]), self.init_ms, self.first_ms, None, Conditions({}, {}))


class BenchmarkDevice(Device):
    """Times models with the program `program` of a phone; candidate and baseline run in turns.

    The program gives a model random inputs and shows no outputs, so of accuracy nothing is known.
    """

    runtimes: tuple[RuntimeName, ...] = ("tflite",)

    def __init__(self, phone: Phone, program: str, kernels: Kernels, timing: Timing) -> None:
        self._phone, self._program, self._kernels, self._timing = phone, program, kernels, timing

    def measure(self, pair: Pair, inputs: Files) -> Measurement:
        """See `Device`."""
        require_models(pair.models)
        machine = self._phone.machine()
        if self._phone.emulated():
            what = f"phone {self._phone.serial!r} is an emulator, whose times say nothing"
            raise DeviceError(f"{what}; set device.python instead of device.benchmark, or attach a phone")
        self._phone.prepare()
        version = self._version()
        kernels = [self._run(model).kernels for model in pair.models]  # and both are in the page cache

        def sit(swap: bool) -> list[Sitting]:
            found = [self._run(model).sitting for model in (pair.models[::-1] if swap else pair.models)]
            return found[::-1] if swap else found

        sittings = until_certain(sit, self._timing, "timing on the phone")
        candidate, baseline = (
            ModelRun(None, {}, timings_of(each), None, _UNTOLD) for each in zip(*sittings, strict=True)
        )
        return Measurement(pair, candidate, baseline, machine, "measured", version, kernels[0])

    def _version(self) -> str:
        """Which program it is: it does not tell its version."""
        script = 'if [ -x "$1" ]; then sha256sum < "$1"; fi'
        digest = self._phone.shell(script, self._program).split()
        if not digest:
            what = f"phone {self._phone.serial!r} has no program at {self._program}"
            raise DeviceError(f"{what}; correct device.benchmark, or put it there with: adb push, chmod +x")
        return f"benchmark program {digest[0][:12]}"

    def _run(self, model: Path) -> Found:
        arguments = [*self._prefix(), self._program, *self._options(self._phone.send(model))]
        script = f'{shlex.join(arguments)} 2>&1; echo "exit status $?"'
        return read(self._phone.shell(script, limit_s=TIMEOUT_S), model)

    def _prefix(self) -> list[str]:
        cpus = self._kernels.cpus
        return [] if cpus is None else ["taskset", f"{sum(1 << cpu for cpu in cpus):x}"]

    def _options(self, graph: str) -> list[str]:
        timing, kernels = self._timing, self._kernels
        delegate = [] if kernels.delegate is None else [f"--external_delegate_path={kernels.delegate}"]
        xnnpack = kernels.op_resolver == "xnnpack" and not delegate
        return [
            f"--graph={graph}",
            f"--num_threads={kernels.threads}",
            f"--use_xnnpack={str(xnnpack).lower()}",
            f"--num_runs={timing.rounds * timing.runs_per_round}",
            "--min_secs=0",
            "--warmup_runs=1",
            f"--warmup_min_secs={timing.warmup_s:g}",
            *delegate,
        ]


def read(said: str, model: Path) -> Found:
    """What the program printed of a model.

    Raises:
        DeviceError: it failed, told no median, or a delegate took no operator.
    """
    lines = [line.strip()[:_LINE] for line in said.splitlines() if line.strip()]
    if lines[-1:] != ["exit status 0"]:
        words = one_line(" ".join(lines[-3:]), 300)
        what = f"{model} in tflite failed in the benchmark program: {words}"
        raise DeviceError(f"{what}; try the model with device=local")
    if any(_REFUSED in line for line in lines):
        what = f"{model} in tflite: the delegate took no operator of the model"
        raise DeviceError(f"{what}; change section device in params.yaml")
    timed, started, delegated = (_last(each, lines) for each in (_TIMED, _STARTED, _DELEGATED))
    told = [started and started["init"], started and started["first"], timed and timed["median"]]
    times = [_milliseconds(each) for each in told if each]
    if len(times) < len(told) or None in times:
        what = f"{model} in tflite: the benchmark program tells no median"
        raise DeviceError(f"{what}; take that of a newer LiteRT")
    kernels = f"BUILTIN with {shown(delegated[1], 80)} delegate" if delegated else "BUILTIN, no delegate told"
    init_ms, first_ms, median_ms = (float(each or 0) for each in times)
    return Found(init_ms, first_ms, median_ms, kernels)


def _last(pattern: re.Pattern[str], lines: list[str]) -> re.Match[str] | None:
    """Where a pattern was said last."""
    return next((found for line in reversed(lines) if (found := pattern.search(line))), None)


def _milliseconds(microseconds: str) -> float | None:
    """A duration as the program tells it; None if it is none."""
    try:
        found = float(microseconds) / 1e3
    except ValueError:
        return None
    return found if 0 < found < _LONGEST_MS else None
