"""A 64-bit ARM board that QEMU emulates here, process by process: real ARM programs, but no real time.

`edgepress device setup qemu_aarch64` makes the folder that it takes: QEMU, and the few Debian packages and
wheels that Python and the runtimes are made of.
"""

import dataclasses
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import IO

from edgepress.config.device import Qemu
from edgepress.devices.base import Device, Files, Measurement, Pair
from edgepress.devices.host import Connection, Host, program_file
from edgepress.devices.linux import LinuxDevice
from edgepress.devices.local import LocalConnection, environment, popen
from edgepress.devices.program.machine import short_hash
from edgepress.errors import DeviceError

PACKAGES = ("ai-edge-litert", "numpy", "onnxruntime")
SETUP = "edgepress device setup qemu_aarch64"

_LAYOUT = 1
"""Counts the changes of what lies where in the folder."""


def open_qemu(config: Qemu) -> Device:
    """The emulated board."""
    return QemuDevice(config)


class QemuDevice(Device):
    """Predicts on an emulated board; what it computes is a board's, what it takes for it is nobody's."""

    runtimes = LinuxDevice.runtimes

    def __init__(self, config: Qemu) -> None:
        self._cpu, self._board = config.cpu, LinuxDevice(QemuHost(config.cpu), config.kernels, None)

    def measure(self, pair: Pair, inputs: Files) -> Measurement:
        """See `Device`."""
        found = self._board.measure(pair, inputs)
        machine = {"cpu": f"{self._cpu}, emulated by QEMU {emulator_version()}", "architecture": "aarch64"}
        fingerprint = short_hash(json.dumps(machine))
        whole = {**found.machine, **machine, "cores": None, "fingerprint": fingerprint}
        return dataclasses.replace(found, machine=whole)


class QemuHost(Host):
    """ARM processes of this computer."""

    def __init__(self, cpu: str) -> None:
        self._cpu = cpu

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        if not emulated_board().exists():
            raise DeviceError(f"the emulated board is not here yet; make it, once, with: {SETUP}")
        with tempfile.TemporaryDirectory() as folder:
            yield QemuConnection(Path(folder), self._cpu)


class QemuConnection(LocalConnection):
    """As on this computer, but for the processor."""

    repair = SETUP

    def __init__(self, folder: Path, cpu: str) -> None:
        super().__init__(folder)
        self._cpu = cpu

    def start(self, threads: int, log: IO[bytes]) -> "subprocess.Popen[str]":
        return popen([*arm_python(self._cpu), "-I", str(program_file())], log, environment(threads))


def arm_python(cpu: str) -> list[str]:
    """The command that runs the emulated board's Python."""
    root = emulated_board() / "root"
    return [str(emulator()), "-L", str(root), "-cpu", cpu, str(root / "usr/bin/python3")]


def emulator() -> Path:
    """QEMU's program."""
    return emulated_board() / "qemu/usr/bin/qemu-aarch64"


def emulator_version() -> str:
    """Such as 10.0.2."""
    said = subprocess.run([str(emulator()), "--version"], capture_output=True, text=True, check=True).stdout
    return said.split("version ")[1].split()[0]


def emulated_board() -> Path:
    """The folder with QEMU in `qemu` and a board's files in `root`; its name tells which packages it has."""
    holds = json.dumps([_LAYOUT, *(f"{name}=={version(name)}" for name in PACKAGES)])
    return cache_folder() / f"qemu-aarch64-{short_hash(holds)}"


def cache_folder() -> Path:
    """Where programs that devices need are kept: `edgepress` in the user's cache, or EDGEPRESS_CACHE."""
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("EDGEPRESS_CACHE") or users / "edgepress")
