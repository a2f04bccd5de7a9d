"""From a file back to the commit whose run made it: `dvc.lock` has the hash of each file of a stage."""

import hashlib
import subprocess
from pathlib import Path

from edgepress.errors import EdgepressError
from edgepress.files import opened

_BLOCK_BYTES, _MOST_BYTES, _LIMIT_S = 2**20, 2**36, 20


def commit_of(path: Path) -> str:
    """The first commit, of all branches and experiments of the repository here, whose lock file has the file.

    '' where there is none, or no repository.
    """
    command = ["git", "log", "--all", "--reverse", "--no-textconv", "--no-ext-diff", "--format=%h of %cs: %s"]
    where = ["--", ":(top,glob)**/dvc.lock"]
    try:
        found = subprocess.run(
            [*command, f"-S{_md5(path)}", *where], capture_output=True, timeout=_LIMIT_S, check=True
        )
    except (OSError, subprocess.SubprocessError, EdgepressError):
        return ""
    lines = found.stdout.decode(errors="replace").splitlines()
    return lines[0] if lines else ""


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with opened(path, _MOST_BYTES) as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
