"""Arrays that are read a part at a time, and what lies in them."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from edgepress.datasets.numpy_files import Array
from edgepress.errors import DataError

_PART_BYTES = 1 << 24
"""How much of an array is converted at a time to look at its values."""


class Rows(Protocol):
    """Samples (N, ...) of which some are read at a time; a numpy array is one such."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> "np.dtype[Any]": ...

    def __getitem__(self, indices: Array, /) -> Array:
        """The samples at some indices, in their order."""


@dataclass(frozen=True)
class Converted:
    """`Rows` of an array in another type, converted when read so that the whole is not held twice."""

    array: Array
    dtype: "np.dtype[Any]"

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the array."""
        return self.array.shape

    def __getitem__(self, indices: Any, /) -> Array:
        """The rows at some indices, or of a slice."""
        with np.errstate(over="ignore"):  # what becomes infinite is refused
            return np.asarray(self.array[indices]).astype(self.dtype)


def extent(rows: Rows, name: str, path: str) -> tuple[float, float]:
    """The least and the largest value of an array (N, ...) in a file.

    Raises:
        DataError: one is not finite.
    """
    lows, highs = [], []
    step = max(1, _PART_BYTES // max(1, rows[np.arange(1)].nbytes))
    for start in range(0, rows.shape[0], step):
        part = rows[np.arange(start, min(start + step, rows.shape[0]))]
        if part.dtype.kind == "f":
            bad = np.flatnonzero(~np.isfinite(part.reshape(len(part), -1)).all(axis=1))
            if len(bad):
                raise DataError(
                    f"{name} in {path} is NaN or infinite, as {rows.dtype}, in sample {start + bad[0]}; "
                    "expected finite numbers"
                )
        lows.append(float(part.min()))
        highs.append(float(part.max()))
    return (min(lows), max(highs))
