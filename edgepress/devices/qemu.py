"""A 64-bit ARM board that is emulated here, process by process, by QEMU, as a host."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Where programs that devices need are kept: `edgepress` in the user's cache, or EDGEPRESS_CACHE."""
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("EDGEPRESS_CACHE") or users / "edgepress")
