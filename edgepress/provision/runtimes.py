"""The runtimes that boards and the emulator get: the same versions as here, each file checked by its hash."""

from importlib.metadata import version
from pathlib import Path

from edgepress.errors import DeviceError

RUNTIMES = ("ai-edge-litert", "onnxruntime")

LOCK = Path(__file__).with_name("runtimes.lock")
"""Requirements for pip: the runtimes and all that they need, for any Python and processor; by `make lock`."""


def locked_runtimes() -> Path:
    """Return the lock, once it is sure that it pins the runtimes' versions that are installed here.

    Raises:
        DeviceError: it pins others, so a board would run another version than this computer.
    """
    pinned = LOCK.read_text(encoding="utf-8").split()
    for package in RUNTIMES:
        if (wanted := f"{package}=={version(package)}") not in pinned:
            raise DeviceError(
                f"{LOCK.name} does not pin {wanted}, which is installed here; update it with: make lock"
            )
    return LOCK
