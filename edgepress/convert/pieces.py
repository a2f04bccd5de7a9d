"""A file's content in pieces, so that large weights are never in memory a second time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from edgepress.writing import atomic

Array = npt.NDArray[Any]

_BLOCK_BYTES = 2**22
"""About how much of an array whose elements lie in another order is copied at a time."""


@dataclass(frozen=True)
class Pieces:
    """Bytes, and arrays whose elements follow in their logical order, one behind the other."""

    parts: Sequence[bytes | Array]

    @property
    def size(self) -> int:
        """The number of bytes."""
        return sum(len(part) if isinstance(part, bytes) else part.nbytes for part in self.parts)

    def write(self, file: IO[bytes]) -> None:
        """Append all to an open file."""
        for block in self._blocks():
            file.write(block)

    def save(self, path: Path) -> None:
        """Write a whole file atomically."""
        with atomic(path) as temporary, temporary.open("wb") as file:
            self.write(file)

    def __bytes__(self) -> bytes:
        return b"".join(self._blocks())

    def _blocks(self) -> Iterator[bytes | memoryview]:
        for part in self.parts:
            if isinstance(part, bytes):
                yield part
            else:
                yield from (_flat(block) for block in _divided(part))


def _divided(array: Array) -> Iterator[Array]:
    """Parts along the first axis of an array that has to be copied; any other as it is."""
    if array.flags.c_contiguous or array.nbytes <= _BLOCK_BYTES:
        yield array
        return
    rows = max(1, _BLOCK_BYTES * len(array) // array.nbytes)
    for begin in range(0, len(array), rows):
        yield array[begin : begin + rows]


def _flat(array: Array) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
