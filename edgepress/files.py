"""The way in for every file that a user names: opened once, looked at, then read, never more than expected.

What a name stands for may be a pipe that never ends, a device, a folder, or a file of the system that tells
no size; and it may be exchanged between a look and a reading. So a file is opened first, without waiting for
a writer, and all that is asked is asked of what was opened. Standard library only.
"""

import errno
import json
import mmap
import os
import stat
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, NoReturn

from edgepress.errors import ArtifactError, EdgepressError
from edgepress.text import shown

MAX_BYTES = 2**31 - 1
"""Protobuf's own limit, and far more than a model for an edge device has."""

MAX_TEXT_BYTES = 2**24
"""Of a configuration, a description or a report."""

SPARE_BYTES = 2**28
"""What may be taken into memory for a file beyond twice its own size."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def opened(
    path: Path, most: int = MAX_BYTES, refusal: type[EdgepressError] = ArtifactError
) -> BufferedReader:
    """A regular file of at most `most` bytes, open for reading.

    Raises:
        EdgepressError: it is something else or too large; of the type `refusal`.
        OSError: it is absent or cannot be opened.
    """
    return _checked(_descriptor(path, refusal), path, most, refusal)


def read(
    path: Path,
    most: int = MAX_BYTES,
    refusal: type[EdgepressError] = ArtifactError,
    growing: bool = False,
) -> bytes:
    """The content of a regular file; of one that is `growing`, what was there when it was opened.

    Raises:
        EdgepressError: it is something else, too large, or does not hold the bytes that it says; of the type
            `refusal`.
        OSError: it is absent or cannot be read.
    """
    with opened(path, most, refusal) as file:
        declared = os.fstat(file.fileno()).st_size
        content = file.read(declared)
        if not growing and (len(content) < declared or file.read(1)):
            raise refusal(
                f"{shown(path)} does not hold the {declared:,} bytes that it says; expected a file that "
                "tells its size, and that nobody writes at the moment"
            )
        return content


def mapped(file: BufferedReader, offset: int, length: int) -> tuple[mmap.mmap, memoryview]:
    """A map of an open regular file that is large enough, and bytes in it: the system reads them when asked.

    Where another program shortens the file meanwhile, this process ends by SIGBUS, which `watcher.py` tells.
    """
    ahead = offset % mmap.ALLOCATIONGRANULARITY
    memory = mmap.mmap(file.fileno(), length + ahead, access=mmap.ACCESS_READ, offset=offset - ahead)
    return memory, memoryview(memory)[ahead:]


def opened_below(
    folder: Path, parts: Sequence[str], most: int, refusal: type[EdgepressError]
) -> BufferedReader:
    """As `opened`, for a file below a folder that has no other name: no step on the way there is a link.

    Raises:
        EdgepressError: as `opened`; or a step is a link, or the file has further (hard-linked) names, which
            may lie anywhere.
        OSError: it is absent or cannot be opened.
    """
    path = folder.joinpath(*parts)
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            below = _step(here, part, os.O_DIRECTORY, path, refusal)
            os.close(here)
            here = below
        file = _checked(_step(here, parts[-1], 0, path, refusal), path, most, refusal)
    finally:
        os.close(here)
    if os.fstat(file.fileno()).st_nlink > 1:
        file.close()
        raise refusal(
            f"{shown(path)} has a second name (a hard link), which may lie elsewhere; expected a file of "
            "its own. Replace it by a copy of itself"
        )
    return file


def parse_json(content: bytes | str) -> Any:
    """The value that a JSON text holds.

    Raises:
        ValueError: it is no JSON, is nested too deeply, or holds a number that is none or far too long.
    """
    try:
        return json.loads(content, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def kind_of(mode: int) -> str:
    """What a file of this mode is, if it is no regular one."""
    return _KINDS.get(stat.S_IFMT(mode), "no file")


def _descriptor(path: Path, refusal: type[EdgepressError]) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except ValueError:
        raise refusal(f"{shown(path)!r} is no name of a file: it holds a null character") from None
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise refusal(
                f"{shown(path)} is a socket or a device that is not there; expected a regular file"
            ) from None
        raise


def _step(here: int, name: str, flags: int, path: Path, refusal: type[EdgepressError]) -> int:
    flags |= os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(name, flags, dir_fd=here)
    except OSError as error:
        if stat.S_ISLNK(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
            raise refusal(
                f"{shown(path)} is reached through the link {shown(name)!r}; expected no link below its "
                "folder. Copy the file there"
            ) from None
        raise error from None


def _checked(descriptor: int, path: Path, most: int, refusal: type[EdgepressError]) -> BufferedReader:
    status = os.fstat(descriptor)
    try:
        if not stat.S_ISREG(status.st_mode):
            raise refusal(f"{shown(path)} is {kind_of(status.st_mode)}; expected a regular file")
        if status.st_size > most:
            raise refusal(f"{shown(path)} has {status.st_size:,} bytes; expected at most {most:,}")
    except EdgepressError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
