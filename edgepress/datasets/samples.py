"""A network's inputs by name, and how the samples of a data set become what one inference takes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from edgepress.datasets.numpy_files import Array
from edgepress.errors import DataError
from edgepress.text import listed, shown

INPUT = "input"
"""What the pipeline's networks call their only input, where the data is images or vectors."""


class Entry(NamedTuple):
    """An input as a network declares it: numpy's name of its type, and its sizes, None where open."""

    name: str
    dtype: str
    dims: tuple[int | None, ...]


@dataclass(frozen=True)
class Samples:
    """Arrays by the name of the input that they are for, each (n, ...) of the same n samples.

    The first axis counts the samples. It is the network's own batch axis, or stands before all of its axes,
    as with a state (layers, batch, width), of which the samples are (n, layers, batch, width).
    """

    arrays: Mapping[str, Array]

    def __post_init__(self) -> None:
        assert len({len(array) for array in self.arrays.values()}) == 1, "arrays of different lengths"

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, indices: "slice | Array") -> "Samples":
        return Samples({name: array[indices] for name, array in self.arrays.items()})

    def feeds(self, entries: Sequence[Entry]) -> Iterator[dict[str, Array]]:
        """What each inference takes, one sample after the other, or as many as the network's batch is.

        Raises:
            DataError: an input has no array, or one of another rank.
        """
        for part in self.parts(self.group(entries)):
            yield part.feed(entries)

    def feed(self, entries: Sequence[Entry]) -> dict[str, Array]:
        """What one inference takes, of all these samples at once.

        Raises:
            DataError: as `feeds`.
        """
        arrays = self.matched(entries)
        return {entry.name: _fed(arrays[entry.name], entry) for entry in entries}

    def parts(self, size: int) -> Iterator["Samples"]:
        """So many samples at a time; the last part is filled up with the first samples."""
        for start in range(0, len(self), size):
            yield self[np.arange(start, start + size) % len(self)] if size > 1 else self[start : start + 1]

    def group(self, entries: Sequence[Entry]) -> int:
        """How many samples an inference takes: the batch that is built into the network, or one.

        Raises:
            DataError: as `feeds`.
        """
        arrays = self.matched(entries)
        if any(has_whole_shape(arrays[entry.name], entry) for entry in entries):
            return 1
        return max((entry.dims[0] or 1 for entry in entries if entry.dims), default=1)

    def matched(self, entries: Sequence[Entry]) -> dict[str, Array]:
        """The array for each input; an only one is for an only input, whatever the two are called.

        Raises:
            DataError: an input has none.
        """
        if len(entries) == len(self.arrays) == 1:
            return {entries[0].name: next(iter(self.arrays.values()))}
        absent = [entry.name for entry in entries if entry.name not in self.arrays]
        if absent:
            raise DataError(
                f"the network has the inputs {listed([entry.name for entry in entries])}, but the data has "
                f"no array named {shown(absent[0])}; it has: {listed(list(self.arrays))}"
            )
        return {entry.name: self.arrays[entry.name] for entry in entries}


Inputs = Samples | Array
"""Samples, or those of a network of one input (n, ...) alone; both have a length, and parts."""


def as_samples(inputs: Inputs) -> Samples:
    """Inputs by name; those of an only input get that of the pipeline's."""
    return inputs if isinstance(inputs, Samples) else Samples({INPUT: inputs})


def has_whole_shape(array: Array, entry: Entry) -> bool:
    """Whether each sample has all axes of the network's input, the batch's among them.

    Raises:
        DataError: it has neither these nor one less.
    """
    if array.ndim not in (len(entry.dims), len(entry.dims) + 1) or not array.ndim:
        axes = "no axes" if not entry.dims else f"{len(entry.dims)} axes"
        raise DataError(
            f"the network's input {shown(entry.name)!r} has {axes}, but the data (samples, ...) for it has "
            f"the shape {array.shape}; expected as many axes, the first of which is the batch, or one more"
        )
    return array.ndim == len(entry.dims) + 1


def _fed(array: Array, entry: Entry) -> Array:
    return np.asarray(array[0] if has_whole_shape(array, entry) else array, entry.dtype)
