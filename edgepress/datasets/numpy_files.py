"""Arrays in numpy's files that nobody vouches for: the header is read as data, and must be true.

numpy itself evaluates a header as a literal of Python, believes the shape that it tells and allocates it.
Here a header is matched against the form that `numpy.save` gives it, and what it declares has to be there.
"""

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from edgepress.errors import ArtifactError, EdgepressError
from edgepress.files import opened
from edgepress.text import shown

Array = npt.NDArray[Any]

MAX_BYTES = 2**50
"""Of a file that is mapped, not read into memory."""

_MAGIC = b"\x93NUMPY"
_LENGTHS = {1: 2, 2: 4, 3: 4}
"""The bytes that tell the header's length, by the format's version."""

_MAX_HEADER = 10_000
_MAX_RANK = 32
_MAX_ELEMENTS = 2**48
_MAX_CODE_POINT = 0x10FFFF
_CHUNK = 1 << 20
_ENTRY = re.compile(
    r"\s*(['\"])(?P<key>descr|fortran_order|shape)\1\s*:"
    r"\s*(?:(['\"])(?P<text>[^'\"]*)\3|(?P<flag>True|False)|\((?P<sizes>[0-9L,\s]*)\))\s*(?:,|$)"
)
_DTYPE = re.compile(r"[<>|=]?(?:[biufcSUVOmM][0-9]{0,9}|\?)(?:\[[0-9]{0,4}[A-Za-z]{1,2}\])?")


@dataclass(frozen=True)
class Header:
    """What a file says of its array, whose bytes begin at `offset`."""

    dtype: "np.dtype[Any]"
    shape: tuple[int, ...]
    fortran: bool
    offset: int

    @property
    def size_bytes(self) -> int:
        """Of the array."""
        return math.prod(self.shape) * self.dtype.itemsize


def map_array(path: Path, refusal: type[EdgepressError] = ArtifactError) -> Array:
    """The array of a .npy file, memory-mapped for reading.

    Raises:
        ValueError: it is not what numpy writes for a plain array, or declares another size than it has.
        EdgepressError: it is no regular file; of the type `refusal`.
        OSError: it is absent or cannot be opened.
    """
    with opened(path, MAX_BYTES, refusal) as file:
        header = read_header(file, os.fstat(file.fileno()).st_size)
        if not header.size_bytes:
            return np.empty(header.shape, header.dtype)
        order = "F" if header.fortran else "C"
        return np.memmap(file, header.dtype, "r", header.offset, header.shape, order)  # type: ignore[call-overload,no-any-return]


def is_npy(path: Path) -> bool:
    """Whether a file begins as numpy's files of a single array do."""
    with opened(path, MAX_BYTES) as file:
        return file.read(len(_MAGIC)) == _MAGIC


def read_array(file: IO[bytes], size: int) -> Array:
    """The array of a .npy file of `size` bytes, in memory.

    Raises:
        ValueError: as `map_array`.
    """
    header = read_header(file, size)
    values = np.empty(math.prod(header.shape), header.dtype)
    left = values.view(np.uint8).data if header.size_bytes else memoryview(b"")
    while left:
        part = file.read(min(len(left), _CHUNK))
        if not part:
            raise ValueError("it is truncated")
        left[: len(part)], left = part, left[len(part) :]
    if header.dtype.kind == "b":
        values = values.view(np.uint8) != 0
    if header.dtype.kind == "U" and values.size and _largest_code_point(values) > _MAX_CODE_POINT:
        raise ValueError("it holds texts that are no Unicode")
    return values.reshape(header.shape[::-1]).T if header.fortran else values.reshape(header.shape)


def read_header(file: IO[bytes], size: int) -> Header:
    """The header of a .npy file of `size` bytes, which are as many as it declares.

    Raises:
        ValueError: as `map_array`.
    """
    start = file.read(len(_MAGIC) + 2)
    if not start.startswith(_MAGIC) or len(start) < len(_MAGIC) + 2 or start[-2] not in _LENGTHS:
        raise ValueError("it does not begin as numpy's files do")
    length = int.from_bytes(file.read(_LENGTHS[start[-2]]), "little")
    if length > _MAX_HEADER:
        raise ValueError(f"its header has {length:,} bytes; expected at most {_MAX_HEADER:,}")
    text = file.read(length)
    header = _parsed(text.decode("latin-1"), len(start) + _LENGTHS[start[-2]] + length)
    if len(text) < length or header.offset + header.size_bytes != size:
        raise ValueError(
            f"it declares {header.dtype.name} of shape {header.shape}, {header.size_bytes:,} bytes, "
            f"but has {max(size - header.offset, 0):,}"
        )
    return header


def _parsed(text: str, offset: int) -> Header:
    entries, body, place = dict[str, re.Match[str]](), text.strip(), 1
    if not (body.startswith("{") and body.endswith("}")):
        raise ValueError("its header is none of numpy's")
    body = body[:-1].rstrip()
    while place < len(body):
        entry = _ENTRY.match(body, place)
        if entry is None or entry["key"] in entries:
            raise ValueError(f"its header is not that of a plain array: {shown(body[place:], 60)}")
        entries[entry["key"]], place = entry, entry.end()
    try:
        descr, flag, sizes = (entries[key] for key in ("descr", "fortran_order", "shape"))
    except KeyError as error:
        raise ValueError(f"its header has no {error}") from None
    if descr["text"] is None or flag["flag"] is None or sizes["sizes"] is None:
        raise ValueError("its header is not that of a plain array")
    return Header(_dtype(descr["text"]), _shape(sizes["sizes"]), flag["flag"] == "True", offset)


def _dtype(text: str) -> "np.dtype[Any]":
    try:
        dtype = np.dtype(text) if _DTYPE.fullmatch(text) else None
    except (TypeError, ValueError, OverflowError):
        dtype = None
    if dtype is None:
        raise ValueError(f"its type {shown(text, 40)!r} is none of numpy's plain ones")
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be read without running what they hold")
    if not dtype.itemsize:
        raise ValueError(f"its type {text!r} has no bytes")
    return dtype


def _shape(text: str) -> tuple[int, ...]:
    sizes = [part.strip().removesuffix("L") for part in text.split(",") if part.strip()]
    if len(sizes) > _MAX_RANK or not all(size.isdigit() and len(size) <= 15 for size in sizes):
        raise ValueError(f"its shape ({shown(text, 60)}) is none")
    shape = tuple(map(int, sizes))
    if math.prod(size for size in shape if size) > _MAX_ELEMENTS:
        raise ValueError(f"its shape {shape} is larger than anything here")
    return shape


def _largest_code_point(texts: Array) -> int:
    return int(texts.view(texts.dtype.str.replace("U", "u").rstrip("0123456789") + "4").max())
