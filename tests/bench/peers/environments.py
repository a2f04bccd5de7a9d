"""The peers' environments, apart from this project's, since their pins contradict it and each other."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(".bench")
VARIABLE = "EDGEPRESS_BENCH_PYTHON"
"""Names a Python for peers that want a newer one than this project's."""

_NEWER = ("3.12", "3.13", "3.14")
_USABLE = "import sys, venv, ensurepip; sys.exit(sys.version_info[:2] < ({0}, {1}))"


@dataclass(frozen=True)
class Environment:
    """What is installed, by version alone, and the oldest Python it wants; pip finds what goes with it."""

    packages: tuple[str, ...]
    oldest: tuple[int, int] = (3, 11)


ENVIRONMENTS = {
    "litert": Environment(("litert-torch==0.10.0", "torch==2.13.0", "torchvision==0.28.0", "timm==1.0.31")),
    "quantizer": Environment(("litert-quantizer==0.11.0",)),
    "onnx2tf": Environment(("onnx2tf==2.6.9",), (3, 12)),
}


def python_of(name: str) -> Path:
    """The environment's Python, installed first if it is not there yet.

    Raises:
        RuntimeError: there is no Python for it, or pip failed; the message says what is wrong.
    """
    wanted = ENVIRONMENTS[name]
    folder, pins = FOLDER / name, "\n".join(wanted.packages)
    done, python = folder / ".installed", (folder / "bin/python").absolute()
    if done.exists() and done.read_text(encoding="utf-8") == pins:
        return python
    base = _base(wanted.oldest)
    print(f"installing {', '.join(wanted.packages)} into {folder}, once", file=sys.stderr, flush=True)
    _run(base, "-m", "venv", "--clear", str(folder))
    _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted.packages)
    done.write_text(pins, encoding="utf-8")
    return python


def _base(oldest: tuple[int, int]) -> str:
    """A Python that is new enough.

    Raises:
        RuntimeError: there is none.
    """
    for python in _candidates():
        command = [python, "-c", _USABLE.format(*oldest)]
        if shutil.which(python) and subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return python
    version = ".".join(map(str, oldest))
    raise RuntimeError(
        f"it wants Python {version} or newer with venv, of which none was found; "
        f"name one: {VARIABLE}=/path/to/python{version}"
    )


def _candidates() -> Iterator[str]:
    """This Python, the one that the user names, those on the path, and those of pyenv."""
    yield sys.executable
    if VARIABLE in os.environ:
        yield os.environ[VARIABLE]
    yield from (f"python{version}" for version in _NEWER)
    if shutil.which("pyenv"):
        installed = _said("pyenv", "versions", "--bare").split()
        for version in (each for wanted in _NEWER for each in installed if each.startswith(f"{wanted}.")):
            yield str(Path(_said("pyenv", "prefix", version).strip(), "bin/python"))


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise RuntimeError(f"it cannot be installed: {lines[-1] if lines else done.returncode}")
