"""Measures on any host that runs the program."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from edgepress.config.device import Energy, Kernels, Local, Timing
from edgepress.devices.base import (
    Conditions,
    Device,
    Files,
    Kind,
    Measurement,
    Memory,
    ModelRun,
    Pair,
    RuntimeName,
)
from edgepress.devices.client import Runner, start_runner
from edgepress.devices.endurance import sustained, throughput
from edgepress.devices.energy import energy, require_log
from edgepress.devices.host import Connection, Host
from edgepress.devices.local import LocalHost
from edgepress.devices.prediction import TIMEOUT_S, by_name, count_samples, predicted
from edgepress.devices.requirements import require_models
from edgepress.devices.sittings import Bench, choice, take_sittings
from edgepress.errors import DeviceError


class Processes(NamedTuple):
    """Processes that are alive at the same time, their runtime imported; what computes, when they load."""

    there: Connection
    runners: list[Runner]
    threads: int
    kernels: dict[str, Any]

    def load(self, number: int, model: Path, **kernels: str) -> dict[str, Any]:
        """Let the process of that number load a model, with what `kernels` says beside the usual."""
        path, computes = self.there.put(model), {**self.kernels, **kernels}
        return self.runners[number].ask("load", model=path, threads=self.threads, kernels=computes)


def open_local(config: Local) -> Device:
    """This computer, as the configuration has it used."""
    return LinuxDevice(LocalHost(), config.kernels, config.timing, config.energy)


class LinuxDevice(Device):
    """Runs each model in a fresh process of its own, which imports nothing but its runtime and numpy.

    Candidate and baseline of a runtime are alive at the same time and are timed in turns, A B, B A, …,
    so that a change of the machine's speed meets both; one of them waits while the other runs. Without
    `timing`, or where the program finds itself in an emulator, nothing is timed.
    """

    runtimes: tuple[RuntimeName, ...] = ("tflite", "onnxruntime")

    def __init__(
        self,
        host: Host,
        kernels: Kernels,
        timing: Timing | None,
        energy: Energy | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._host, self._kernels, self._timing, self._energy = host, kernels, timing, energy
        self._timeout_s = timeout_s

    def measure(self, pair: Pair, inputs: Files) -> Measurement:
        """See `Device`."""
        require_models(pair.models)
        if self._energy is not None:
            require_log(self._energy)
        count = count_samples(inputs)
        with self._host.connect() as there:
            samples = {name: there.put(path) for name, path in by_name(inputs).items()}
            bench = Bench(there, pair, samples, count, self._kernels, self._timeout_s)
            (candidate, baseline), facts = self._predict(bench)
            kind: Kind = "emulated" if facts["emulated"] else "measured"
            conditions = None
            if self._timing is not None and kind == "measured":
                (candidate, baseline), conditions = self._time(bench, [candidate, baseline], self._timing)
        return Measurement(
            pair,
            candidate,
            baseline,
            facts["machine"],
            kind,
            facts["runtime_version"],
            facts["op_resolver"],
            conditions,
        )

    def connect(self) -> AbstractContextManager[Connection]:
        """See `Host`; for those who measure otherwise."""
        return self._host.connect()

    @contextmanager
    def processes(
        self, there: Connection, runtime: RuntimeName, models: Sequence[Path]
    ) -> Iterator[Processes]:
        """A process for each model.

        Raises:
            DeviceError: the device's times say nothing, or a runtime is missing.
        """
        with ExitStack() as stack:
            starts = (start_runner(there, runtime, model, self._kernels, self._timeout_s) for model in models)
            runners = [stack.enter_context(start) for start in starts]
            if self._emulated(runners[0]):
                raise DeviceError("this device is emulated, so its times say nothing; choose another one")
            yield Processes(there, runners, self._kernels.threads, choice(self._kernels, runtime))

    def _emulated(self, runner: Runner) -> bool:
        """Whether the program runs in an emulator, whose times say nothing."""
        return bool(runner.ask("probe")["emulated"])

    def _predict(self, bench: Bench) -> tuple[list[ModelRun], dict[str, Any]]:
        """Outputs and memory of candidate and baseline, and what ran where."""
        runs, facts = list[ModelRun](), dict[str, Any]()
        for model in bench.pair.models:
            with ExitStack() as stack:
                loaded = bench.load(stack, model)
                stats = loaded.runner.ask("stats")
                facts = facts or stats
                peak, idle = stats["peak_memory_bytes"], stats["idle_memory_bytes"]
                memory = None if stats["emulated"] else Memory(peak, idle)
                orders = bench.pair.orders
                run = predicted(loaded.runner, bench.there, loaded.answer, bench.count, orders)
                runs.append(replace(run, memory=memory))
        return runs, facts

    def _time(self, bench: Bench, runs: list[ModelRun], timing: Timing) -> tuple[list[ModelRun], Conditions]:
        """The same runs of candidate and baseline with times and whatever else is asked for."""
        timings, conditions = take_sittings(bench, timing)
        figures = throughput(bench, timing)
        figures[0] |= sustained(bench, timing)
        if self._energy is not None:
            for each, found in zip(figures, energy(bench, timing, self._energy), strict=True):
                each |= found
        timed = [
            replace(run, timings=times, figures=each)
            for run, times, each in zip(runs, timings, figures, strict=True)
        ]
        return timed, conditions
