"""The way out for every file and folder: whole or not at all, whoever else reads or writes it meanwhile.

What is written has a name of its own beside its place, made anew (`O_EXCL`), so no link is followed and no
other process writes the same file. When it is whole and on the disk, it takes the place of what was there; a
link there is replaced, never written through. The writer holds a lock on it for as long as it lives. What
bears such a name without a lock was left by a killed process, and is removed when its place is next written.
Standard library only.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgepress.errors import ArtifactError
from edgepress.files import kind_of
from edgepress.system import NO_ROOM, told
from edgepress.text import shown

_ENDING = ".partial"
_TOKEN_BYTES = 6
_MAX_NAME = 255 - len(f"..{_ENDING}") - 2 * _TOKEN_BYTES
_NEW = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SYSTEM, _SHARED_MEMORY = (Path("/dev"), Path("/proc"), Path("/sys")), Path("/dev/shm")
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
"""What file systems say that cannot bring a folder to the disk by itself."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A new, empty file beside `path` that takes its place when the block ends, or is removed if it fails.

    Raises:
        ArtifactError: the file cannot be written, e.g. for lack of space, or something that is no file is in
            its place.
    """
    with _errors_of(path):
        _refuse_others(path)
        _make_folders(path.parent)
        with _claimed(path, _new_file) as temporary:
            yield temporary
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A new, empty folder beside `path` that takes its place with all its files at once, as with `atomic`.

    Where the system cannot exchange two folders in one step, there is none for an instant, but never one of
    old and new files. Write the files in it with `atomic`, which brings them to the disk.

    Raises:
        ArtifactError: the folder cannot be written, or something that is no folder is in its place.
    """
    with _errors_of(path):
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise ArtifactError(f"cannot write {shown(path)}: it is no folder; move it away and run again")
        _make_folders(path.parent)
        with _claimed(path, _new_folder) as temporary:
            yield temporary
            _sync(temporary)
            _put_folder(temporary, path)
            _sync(path.parent)


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        remedy = "free some space" if error.errno in NO_ROOM else "check the folder and its permissions"
        raise ArtifactError(
            f"cannot write {shown(path)}: {told(error)}{_elsewhere(error, path)}; {remedy} and run again"
        ) from error


def _elsewhere(error: OSError, path: Path) -> str:
    """The file that an error names, unless it is the one that is being written."""
    if not isinstance(error.filename, str | bytes):
        return ""
    named = Path(os.fsdecode(error.filename))
    return "" if named in (path, *path.parents) or named.name.endswith(_ENDING) else f" ({shown(named)})"


def _refuse_others(path: Path) -> None:
    """Nothing but a file, or a link to one or to nothing, is replaced by a file."""
    place = path.parent.resolve()
    if any(each in _SYSTEM for each in (place, *place.parents[:-1])) and _SHARED_MEMORY not in (
        place,
        *place.parents,
    ):
        raise ArtifactError(
            f"cannot write {shown(path)}: the system keeps no files there; choose another name"
        )
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise ArtifactError(
            f"cannot write {shown(path)}: it is {kind_of(mode)}; choose the name of a regular file"
        )


def _make_folders(folder: Path) -> None:
    absent = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in absent:
        _sync(made.parent)


@contextmanager
def _claimed(path: Path, make: Callable[[Path], int]) -> Iterator[Path]:
    """A name beside `path` that `make` has made anew, locked; what is left there at the end is removed."""
    stem = os.fsdecode(os.fsencode(path.name)[:_MAX_NAME])
    _clean(path.parent, f".{stem}.")
    temporary, lock = _locked(path.with_name(f".{stem}."), make)
    try:
        yield temporary
    finally:
        _remove(temporary)
        os.close(lock)


def _locked(start: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    while True:
        temporary = start.with_name(f"{start.name}{os.urandom(_TOKEN_BYTES).hex()}{_ENDING}")
        try:
            lock = make(temporary)
        except FileExistsError:
            continue
        with suppress(OSError):  # a file system without locks: what is left there by killed processes stays
            fcntl.flock(lock, fcntl.LOCK_EX)
        if temporary.exists():
            return temporary, lock
        os.close(lock)  # another process took it for left behind, before it was locked


def _new_file(path: Path) -> int:
    return os.open(path, _NEW, 0o666)


def _new_folder(path: Path) -> int:
    path.mkdir()
    return os.open(path, _LOOK)


def _clean(folder: Path, start: str) -> None:
    """Remove what killed processes left of a file or folder."""
    length = len(start) + 2 * _TOKEN_BYTES + len(_ENDING)
    with suppress(OSError):
        for entry in os.scandir(folder):
            if entry.name.startswith(start) and entry.name.endswith(_ENDING) and len(entry.name) == length:
                _remove_unlocked(Path(entry.path))


def _remove_unlocked(path: Path) -> None:
    with suppress(OSError):
        look = os.open(path, _LOOK)
        try:
            fcntl.flock(look, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(path)
        finally:
            os.close(look)


def _remove(path: Path) -> None:
    """Remove a file or folder, if it is there and can be."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        import shutil

        shutil.rmtree(path, ignore_errors=True)


def _put_folder(new: Path, place: Path) -> None:
    """Give `new` the name of `place`; a folder that was there gets the name of `new`, or is removed."""
    while True:
        try:
            new.rename(place)  # takes the place of nothing, and of an empty folder
            return
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
        if _exchanged(new, place):
            return
        with _claimed(place, _new_folder) as aside, suppress(FileNotFoundError):
            place.rename(aside)


def _exchanged(first: Path, second: Path) -> bool:
    """Whether the system has exchanged the names of two folders in one step: Linux, most file systems."""
    import ctypes

    at_here, exchange = -100, 2
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    return bool(rename(at_here, os.fsencode(first), at_here, os.fsencode(second), exchange) == 0)


def _sync(path: Path) -> None:
    """Bring a file's content, or a folder's names, to the disk."""
    folder = path.is_dir()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        if folder:
            return  # it may be written but not read, as is allowed
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not (folder and error.errno in _NO_FOLDER_SYNC):
            raise
    finally:
        os.close(descriptor)
