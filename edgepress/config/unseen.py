"""Edits that Git does not see, made visible to it.

`dvc exp run` puts the files aside and back and writes Git's index anew. If it fails within a second, a file
that was edited without changing its size has the size and the second that the index holds for the old
content, so Git takes it for unchanged, and `git add` leaves it out.
"""

import hashlib
import os
import subprocess
from contextlib import suppress
from pathlib import Path

from edgepress import files
from edgepress.errors import EdgepressError

_PLACES = ("conf", "params.yaml", "dvc.yaml")


def show_to_git() -> list[Path]:
    """Give each file of the configuration that differs from Git's index another time; those files.

    Git then looks into them. Without Git, or outside of a repository, there is nothing to do.
    """
    with suppress(OSError, subprocess.SubprocessError, EdgepressError):
        command = ["git", "ls-files", "--stage", "-z", "--", *_PLACES]
        listed = subprocess.run(command, capture_output=True, check=True).stdout
        return [path for path in map(_differing, listed.split(b"\0")) if path is not None]
    return []


def _differing(entry: bytes) -> Path | None:
    """The file of a line of `git ls-files --stage`, touched, if its content is another."""
    about, _, name = entry.partition(b"\t")
    path = Path(os.fsdecode(name))
    if not name or not path.is_file():
        return None
    content, told = files.read(path), about.split()[1].decode()
    algorithm = hashlib.sha256 if len(told) == 64 else hashlib.sha1
    if algorithm(b"blob %d\0" % len(content) + content).hexdigest() == told:
        return None
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - 2 * 10**9))
    return path
