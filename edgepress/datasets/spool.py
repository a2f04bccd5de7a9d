"""Samples that lie in a nameless file, so that a data set may be larger than memory."""

import os
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.datasets.prepared import Array


class Spool:
    """Rows of one shape and type, appended one by one and then read in any order, as `Rows`.

    The file lies in `folder`, since temporary folders are often small or in memory, but has no name there:
    it is gone with the process, however that ends.
    """

    def __init__(self, folder: Path, row_shape: tuple[int, ...], dtype: "np.dtype[Any]") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._row_shape, self.dtype = folder, row_shape, dtype
        self._file = tempfile.TemporaryFile(buffering=0, dir=folder)  # noqa: SIM115, closed by the next line
        weakref.finalize(self, self._file.close)
        self._row_bytes = int(np.prod(row_shape)) * dtype.itemsize
        self._rows = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of rows, and the shape of each."""
        return (self._rows, *self._row_shape)

    def append(self, row: Array) -> None:
        """Add a row.

        Raises:
            OSError: the disk is full; it names the folder.
        """
        assert (row.shape, row.dtype) == (self._row_shape, self.dtype)
        try:
            left = np.ascontiguousarray(row).data.cast("B")
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            error.filename = str(self._folder)
            raise
        self._rows += 1

    def __getitem__(self, indices: Array, /) -> Array:
        """The rows at some indices."""
        rows = np.empty((len(indices), *self._row_shape), self.dtype)
        for row, index in zip(rows, indices, strict=True):
            read = os.preadv(self._file.fileno(), [row.data.cast("B")], int(index) * self._row_bytes)
            assert read == self._row_bytes, f"row {index} of {self._rows}"
        return rows
