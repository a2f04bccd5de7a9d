"""A board that `ssh` reaches, as a host. All of ours lies in one folder there, `device.directory`:

files/<sha256><suffix>   what was sent, once; `.part` while it is on its way
runs/                    what a run writes there; gone after it
venv/                    Python and the runtimes, made by `edgepress device setup`
"""

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from edgepress.config.device import Ssh
from edgepress.devices.answers import answered, parse_answer
from edgepress.devices.base import Device
from edgepress.devices.host import PROBE, Connection, Death, Host, program_file
from edgepress.devices.link import FAILED, RESUMES, Link, open_link
from edgepress.devices.linux import LinuxDevice
from edgepress.errors import DeviceError

PYTHON = "venv/bin/python"

_KEEP_DAYS = 30
_ABSENT = 127
"""How a shell says that a program is not there."""

_START = 'OMP_NUM_THREADS="$1" OPENBLAS_NUM_THREADS=1 "$2" -I "$3"'


def open_ssh(config: Ssh) -> Device:
    """The board that the configuration names."""
    return LinuxDevice(SshHost(config), config.kernels, config.timing, config.energy)


class SshHost(Host):
    """A board, with Python and the runtimes in the folder that `edgepress device setup` made there."""

    def __init__(self, config: Ssh) -> None:
        self._config = config

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        with open_link(self._config.board, self._config.directory) as link:
            program = link.send(program_file())
            self._recognise(probe(link, PYTHON)["machine"])
            link.run(f"find files -type f -mtime +{_KEEP_DAYS} -exec rm -f {{}} +")
            connection = SshConnection(link, program)
            try:
                yield connection
            finally:
                connection.tidy()

    def _recognise(self, machine: dict[str, Any]) -> None:
        known, found = self._config.fingerprint, machine["fingerprint"]
        if known not in (None, found):
            was = self._config.machine or "a board"
            raise DeviceError(
                f"board {self._config.board!r} is not the one it was: {was} with fingerprint {known} is "
                f"expected, {describe(machine)} with {found} answers; make ssh reach the former, or give "
                "this one a name of its own and run edgepress device setup for it"
            )


class SshConnection(Connection):
    """A board in use."""

    def __init__(self, link: Link, program: str) -> None:
        self._link, self._program, self._run = link, program, uuid.uuid4().hex
        self.repair = f"edgepress device setup {link.board}"

    def put(self, path: Path) -> str:
        return self._link.send(path)

    def scratch(self, name: str) -> str:
        return f"runs/{self._run}-{name}"

    def get(self, path: str, target: Path) -> None:
        self._link.fetch(path, target)

    def start(self, threads: int, log: IO[bytes]) -> "subprocess.Popen[str]":
        return self._link.popen(_START, str(threads), PYTHON, self._program, log=log)

    def kill(self, process: "subprocess.Popen[str]", pid: int | None) -> None:
        if pid is not None:
            with suppress(DeviceError):  # without a connection the program's own limit ends it
                self._link.attempt('kill -KILL "$1"', str(pid), limit_s=20)
        process.kill()

    def explain(self, status: int, last_words: str) -> Death | None:
        if status != FAILED:
            return None
        return Death(f"was cut off: {self._link.lost_words(last_words)}", f"run again: {RESUMES}")

    def tidy(self) -> None:
        """Remove what the run wrote there."""
        with suppress(DeviceError):  # files of a lost connection are removed by a later run
            self._link.run(
                f'rm -f runs/"$1"-*; find runs -type f -mtime +{_KEEP_DAYS} -exec rm -f {{}} +', self._run
            )


def probe(link: Link, python: str) -> dict[str, Any]:
    """What a board is and has, see `program/`, asked with a Python that is there.

    Raises:
        DeviceError: there is no such Python, or it does not run there.
    """
    program = link.send(program_file())
    status, output, words = link.attempt(_START, "1", python, program, feed=PROBE)
    setup = f"edgepress device setup {link.board}"
    if status == _ABSENT:
        raise DeviceError(f"board {link.board!r} has no runtime yet ({words}); install it with: {setup}")
    try:
        return answered(parse_answer(output, "probe"))
    except ValueError as error:
        said = words or (f"it answers with {error}" if output.strip() else "no answer")
        raise DeviceError(
            f"{python} does not run on board {link.board!r} (exit status {status}: {said}); "
            f"was it made for another machine? Make it anew with: {setup}"
        ) from None


def describe(machine: dict[str, Any]) -> str:
    """A machine in a few words."""
    return f"{machine['cpu']} ({machine['architecture']}, {machine['cores']} cores)"
