"""An Android phone as a host, for a Python that is there, and as a device."""

import shlex
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

from edgepress.config.device import Adb
from edgepress.devices.base import Device, Files, Measurement, Pair
from edgepress.devices.client import Runner
from edgepress.devices.host import Connection, Death, Host, program_file
from edgepress.devices.linux import LinuxDevice
from edgepress.devices.phone import Phone
from edgepress.devices.phone_benchmark import BenchmarkDevice
from edgepress.errors import DeviceError

_NOT_RUN = (126, 127)
"""How a shell says that a program is not there, or cannot be run."""


def open_adb(config: Adb) -> Device:
    """The phone that the configuration names."""
    phone = Phone(config.serial, config.directory)
    if config.benchmark is not None:
        return BenchmarkDevice(phone, config.benchmark, config.kernels, config.timing)
    assert config.python is not None
    return PhoneDevice(phone, AdbHost(phone, config.python), config)


class PhoneDevice(LinuxDevice):
    """Measures on a phone; what it is, the phone's own properties say. An emulator's times are not taken."""

    def __init__(self, phone: Phone, host: Host, config: Adb) -> None:
        super().__init__(host, config.kernels, config.timing, config.energy)
        self._phone = phone

    def measure(self, pair: Pair, inputs: Files) -> Measurement:
        """See `Device`."""
        machine = self._phone.machine()
        if self._phone.emulated():
            measured = _silent(LinuxDevice(self._host, self._kernels, None).measure(pair, inputs))
        else:
            measured = super().measure(pair, inputs)
        return replace(measured, machine=measured.machine | machine)

    def _emulated(self, runner: Runner) -> bool:
        return self._phone.emulated() or super()._emulated(runner)


def _silent(measured: Measurement) -> Measurement:
    """The same of an emulator, which tells nothing about memory either."""
    candidate, baseline = (replace(run, memory=None) for run in (measured.candidate, measured.baseline))
    return replace(measured, candidate=candidate, baseline=baseline, kind="emulated")


class AdbHost(Host):
    """A phone with Python, which `python` starts: a path, or a command such as `run-as NAME PATH`."""

    def __init__(self, phone: Phone, python: str) -> None:
        self._phone, self._python = phone, python

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        self._phone.prepare()
        connection = AdbConnection(self._phone, self._python)
        try:
            yield connection
        finally:
            connection.tidy()


class AdbConnection(Connection):
    """A phone in use."""

    def __init__(self, phone: Phone, python: str) -> None:
        self._phone, self._python, self._run = phone, python, uuid.uuid4().hex
        self.repair = f"{python} -m pip, on the phone"

    def put(self, path: Path) -> str:
        return self._phone.send(path)

    def scratch(self, name: str) -> str:
        return self._phone.scratch(f"{self._run}-{name}")

    def get(self, path: str, target: Path) -> None:
        self._phone.fetch(path, target)

    def start(self, threads: int, log: IO[bytes]) -> "subprocess.Popen[str]":
        python = shlex.join(shlex.split(self._python))
        script = f'OMP_NUM_THREADS="$1" OPENBLAS_NUM_THREADS=1 exec {python} -I "$2"'
        return self._phone.popen(script, str(threads), self.put(program_file()), log=log)

    def kill(self, process: "subprocess.Popen[str]", pid: int | None) -> None:
        if pid is not None:
            with suppress(DeviceError):  # without a connection the program's own limit ends it
                self._phone.shell('kill -KILL "$1"', str(pid), limit_s=20)
        process.kill()

    def explain(self, status: int, last_words: str) -> Death | None:
        said = f" ({last_words})" if last_words else ""
        if not self._phone.attached():
            return Death(
                f"was cut off: phone {self._phone.serial!r} is gone{said}", "attach it and run again"
            )
        if status in _NOT_RUN:
            return Death(f"found no Python at {self._python!r}{said}", "correct device.python")
        return None

    def tidy(self) -> None:
        """Remove what the run wrote there."""
        self._phone.tidy(self._run)
