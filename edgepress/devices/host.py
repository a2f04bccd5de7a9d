"""What it takes to run the program somewhere: files get there and back, and processes are started there."""

import atexit
import shutil
import subprocess
import tempfile
import zipfile
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import IO, NamedTuple, Protocol

PROBE = '{"do": "probe"}\n'
"""A whole input for the program, which asks what the device is and has."""

_ENTRY = "edgepress.devices.program.serve:main"


@cache
def program_file() -> Path:
    """The program of `program/` as one file, a zip that Python runs; its bytes depend on its sources alone.

    It lies in a temporary folder for as long as this process lives. It is not compressed, since not every
    device's Python can undo that.
    """
    folder = Path(tempfile.mkdtemp(prefix="edgepress-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    module, function = _ENTRY.split(":")
    files = {"__main__.py": f"from {module} import {function}\n\n{function}()\n"}
    files |= {f"{parent}/__init__.py": "" for parent in ("edgepress", "edgepress/devices")}
    for source in sorted(Path(__file__).with_name("program").glob("*.py")):
        files[f"edgepress/devices/program/{source.name}"] = source.read_text(encoding="utf-8")
    with zipfile.ZipFile(folder / "runner.pyz", "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return folder / "runner.pyz"


class Death(NamedTuple):
    """Why a process of a host ended that nobody ended: what happened, and the remedy."""

    what: str
    remedy: str


class Connection(Protocol):
    """A host while it is in use; `repair` says how to get what it lacks, such as a runtime."""

    repair: str

    def put(self, path: Path) -> str:
        """Bring a file there, unless it is there, and tell its path there.

        Raises:
            DeviceError: it cannot be brought or stored.
        """

    def scratch(self, name: str) -> str:
        """A path there where the program may write a file, which ends with the connection."""

    def get(self, path: str, target: Path) -> None:
        """Fetch a file from there.

        Raises:
            DeviceError: it cannot be fetched.
        """

    def start(self, threads: int, log: IO[bytes]) -> "subprocess.Popen[str]":
        """Start the program there, its standard error in `log`, with that many threads for numerical code."""

    def kill(self, process: "subprocess.Popen[str]", pid: int | None) -> None:
        """End the program, which is process `pid` there, at once; None if it has not told yet."""

    def explain(self, status: int, last_words: str) -> Death | None:
        """Why the program ended with this status, where that is the host's fault, not the model's."""


class Host(Protocol):
    """A computer that runs the program."""

    def connect(self) -> AbstractContextManager[Connection]:
        """Make it usable.

        Raises:
            DeviceError: it is out of reach, or not what the configuration says it is.
        """
