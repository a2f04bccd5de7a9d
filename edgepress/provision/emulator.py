"""What `device=qemu_aarch64` takes: QEMU, and a folder of ARM programs with Python and the runtimes."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from edgepress.devices.pipes import EndlessOutputError, finished
from edgepress.devices.qemu import PACKAGES, arm_python, emulated_board
from edgepress.errors import DeviceError
from edgepress.provision.debian import cached, host_architecture, unpack
from edgepress.provision.runtimes import locked_runtimes
from edgepress.text import one_line

_ARM = ["python3-minimal", "libpython3-stdlib", "libstdc++6"]
_TIMEOUT_S = 1800.0
_WHEELS_FOR = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_26", "manylinux2014", "manylinux_2_17")
_UNUSED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/lib/python3/dist-packages/bin")


def make_emulated_board(say: Callable[[str], None]) -> str:
    """Fetch and unpack it, unless it is there; about 270 MB in the user's cache folder.

    Raises:
        DeviceError: a package cannot be had.
    """
    folder = cached(emulated_board(), lambda made: _fill(made, say))
    say("starting it")
    code = "import platform, numpy, onnxruntime, ai_edge_litert.interpreter; print(platform.machine())"
    status, said, errors = _finished([*arm_python("max"), "-I", "-c", code])
    if said.strip() != "aarch64":
        words = one_line((errors.strip().splitlines() or [str(status)])[-1], 300)
        raise DeviceError(f"the emulated board does not start ({words}); delete {folder} and make it anew")
    return f"{folder} is ready; use it with: dvc exp run -S device=qemu_aarch64"


def _fill(folder: Path, say: Callable[[str], None]) -> None:
    qemu, root = folder / "qemu", folder / "root"
    qemu.mkdir()
    root.mkdir()
    say("fetching QEMU from Debian's backports")
    unpack(["qemu-user"], qemu, host_architecture(), backports=True)
    for program in (qemu / "usr/bin").iterdir():
        if program.name != "qemu-aarch64":
            program.unlink()
    say("fetching Python for ARM from Debian")
    unpack(_ARM, root, "arm64")
    say(f"fetching {', '.join(PACKAGES)} for ARM from the Python package index")
    _install(root)
    for name in _UNUSED:
        shutil.rmtree(root / name, ignore_errors=True)


def _install(root: Path) -> None:
    python = (root / "usr/bin/python3").readlink().name.removeprefix("python")
    wheels = [f"--platform={name}_aarch64" for name in _WHEELS_FOR]
    target = root / "usr/lib/python3/dist-packages"
    status, _, words = _finished(
        [
            sys.executable, "-P", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
            "--only-binary=:all:", "--implementation=cp", f"--python-version={python}", *wheels,
            f"--target={target}", "--no-deps", "--require-hashes", f"--requirement={locked_runtimes()}",
        ],
    )  # fmt: skip
    if status != 0:
        errors = [line for line in words.splitlines() if line.startswith("ERROR")] or [words]
        reason = one_line(errors[-1], 300)
        raise DeviceError(f"pip cannot fetch the runtimes for ARM: {reason}; is its index up?")


def _finished(command: list[str]) -> tuple[int, str, str]:
    try:
        return finished(command, _TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired, EndlessOutputError) as error:
        raise DeviceError(f"{command[0]} cannot be run: {one_line(error, 300)}; try again") from error
