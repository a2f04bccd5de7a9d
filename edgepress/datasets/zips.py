"""Zips that nobody vouches for: what they declare is compared with what they are before it is believed."""

import errno
import struct
import weakref
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from edgepress.errors import DataError
from edgepress.files import MAX_BYTES, SPARE_BYTES, opened
from edgepress.text import listed, shown

_MAX_FILE_BYTES = 2**50
_METHODS = {zipfile.ZIP_STORED: "none", zipfile.ZIP_DEFLATED: "deflate", zipfile.ZIP_BZIP2: "bzip2"}
_ENCRYPTED = 0x41
"""The bits of an entry's flags that say that it is encrypted."""

_END, _END_64 = b"PK\5\6", b"PK\6\6"
_END_BYTES, _LOCATOR_BYTES, _LONGEST_COMMENT = 22, 20, 1 << 16
_ENTRY_BYTES = 46
_ENTRY_MEMORY_BYTES = 1_200
"""About what an entry of the directory takes once it was read, and its name."""

_LINK = 0o120000
_FORMAT = 0o170000
_FAULTS = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, IndexError, NotImplementedError, OverflowError,
    RuntimeError, ValueError,
)  # fmt: skip
"""What `zipfile` and its decoders raise of a damaged file."""


class Zip:
    """A zip, open for reading; every name in it is there once and leads nowhere else.

    Where its entries are no files of a folder but arrays, any name will do (not `of_files`).

    Raises:
        ValueError: it is no zip.
        DataError: it is no regular file, or its names are not as they should be.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path, of_files: bool = True) -> None:
        self.path = path
        self._file = opened(path, _MAX_FILE_BYTES, DataError)
        weakref.finalize(self, self._file.close)
        self.size = self._file.seek(0, 2)
        try:
            with _content_faults():
                self._require_small_directory()
                self._zip = zipfile.ZipFile(self._file)
            self._require_plain_names(of_files)
        except BaseException:
            self.close()
            raise

    def names(self) -> list[str]:
        """All names, those of folders with a slash at the end."""
        return self._zip.namelist()

    def read(self, name: str, most: int = MAX_BYTES) -> bytes:
        """The content of a file of at most `most` bytes.

        Raises:
            ValueError: in a few words what is wrong with it.
            OSError: the zip cannot be read.
        """
        with self.open(name, most) as (file, size):
            content = file.read(size)
            if len(content) != size:
                raise ValueError(f"has {len(content)} bytes instead of {size}")
            return content

    @contextmanager
    def open(self, name: str, most: int) -> Iterator[tuple[IO[bytes], int]]:
        """A file for reading, and the bytes that it declares; raises as `read`."""
        entry = self._zip.getinfo(name)
        if entry.flag_bits & _ENCRYPTED:
            raise ValueError("encrypted")
        if (entry.external_attr >> 16) & _FORMAT == _LINK:
            raise ValueError("a link, which is not followed")
        if entry.compress_type not in _METHODS:
            known = ", ".join(_METHODS.values())
            raise ValueError(f"compressed by method {entry.compress_type}; expected one of: {known}")
        if entry.file_size > most:
            raise ValueError(f"unpacks to {entry.file_size:,} bytes; expected at most {most:,}")
        with _content_faults(), self._zip.open(entry) as file:
            yield file, entry.file_size

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> "Zip":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _require_small_directory(self) -> None:
        """Its list of names is read whole, so it has to be in proportion to the file."""
        entries = _directory_bytes(self._file, self.size) // _ENTRY_BYTES
        if entries * _ENTRY_MEMORY_BYTES > SPARE_BYTES + 2 * self.size:
            raise ValueError(f"a list of some {entries:,} names in a file of {self.size:,} bytes")

    def _require_plain_names(self, of_files: bool) -> None:
        names = self._zip.namelist()
        leading_out = [name for name in names if of_files and _leads_out(name)]
        if leading_out:
            raise DataError(
                f"{len(leading_out)} names in {self.path} lead out of it: {listed(leading_out)}; expected "
                "names below its own folders. Pack it anew, and mistrust where it came from"
            )
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise DataError(
                f"{len(twice)} names are in {self.path} more than once: {listed(twice)}; expected each once, "
                "since nothing says which is meant. Pack it anew"
            )


@contextmanager
def _content_faults() -> Iterator[None]:
    """Tell what is wrong with the content as a ValueError; what is wrong with the system stays an OSError."""
    try:
        yield
    except zipfile.LargeZipFile as error:
        raise ValueError(shown(error)) from error
    except _FAULTS as error:
        raise ValueError(shown(error) or type(error).__name__) from error
    except OSError as error:  # a decoder's complaint has no number; a place before the file's begin is EINVAL
        if error.errno not in (None, errno.EINVAL):
            raise
        raise ValueError(shown(error)) from error


def _leads_out(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or parts[0] == "" or ":" in parts[0]


def _directory_bytes(file: IO[bytes], size: int) -> int:
    """The size of the list of names that a zip's end tells; 0 if there is no end: `zipfile` will say so."""
    file.seek(max(0, size - _END_BYTES - _LONGEST_COMMENT - _LOCATOR_BYTES))
    tail = file.read()
    place = tail.rfind(_END)
    if place < 0 or len(tail) - place < _END_BYTES:
        return 0
    told: int = struct.unpack_from("<L", tail, place + 12)[0]
    if told != 0xFFFFFFFF or place < _LOCATOR_BYTES:
        return told
    (where,) = struct.unpack_from("<Q", tail, place - _LOCATOR_BYTES + 8)
    file.seek(min(where, size))
    record = file.read(56)
    long: Any = struct.unpack_from("<Q", record, 40)[0] if len(record) == 56 else told
    return min(int(long), size) if record.startswith(_END_64) else told
