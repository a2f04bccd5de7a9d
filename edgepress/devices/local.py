"""This computer as a host."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from edgepress.devices.host import Connection, Death, Host, program_file


class LocalConnection(Connection):
    """Files lie where they are; `folder` is for what the program writes."""

    repair = "make install"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, path: Path) -> str:
        return str(path)

    def scratch(self, name: str) -> str:
        return str(self._folder / name)

    def get(self, path: str, target: Path) -> None:
        Path(path).replace(target)

    def start(self, threads: int, log: IO[bytes]) -> "subprocess.Popen[str]":
        return popen([sys.executable, "-I", str(program_file())], log, environment(threads))

    def kill(self, process: "subprocess.Popen[str]", pid: int | None) -> None:
        process.kill()

    def explain(self, status: int, last_words: str) -> Death | None:
        return None


class LocalHost(Host):
    """Processes of this computer."""

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        with tempfile.TemporaryDirectory() as folder:
            yield LocalConnection(Path(folder))


def popen(command: list[str], log: IO[bytes], environment: dict[str, str]) -> "subprocess.Popen[str]":
    """A process that is talked to in lines."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=log, encoding="utf-8", errors="replace", env=environment
    )


def environment(threads: int) -> dict[str, str]:
    """This process's environment without Python's own variables, and with the number of threads fixed."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return {**kept, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}
