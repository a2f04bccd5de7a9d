"""What it takes to run `runner.py` somewhere: files get there and back, and processes are started there."""

import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, NamedTuple, Protocol

PROGRAM = Path(__file__).with_name("runner.py")


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
