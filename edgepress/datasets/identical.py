"""Samples of a data set that are the same: they have to stay on one side of the split.

A network that was trained on what it is tested on is told to be better than it is. Among samples that the
data set leaves to us, all copies go to one side (see `splits`). Of splits that it came with, the samples for
testing and validation stay: their copies in what is trained on are left out, since a figure on the very test
set that others use can still be compared with theirs, and training hardly misses a copy.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgepress.datasets.dataset import Dataset
from edgepress.datasets.prepared import Array
from edgepress.text import shown

_PART_BYTES = 4 << 20
"""How much is held in memory at a time."""

_SIDES = ("test", "validation", "train")
"""Of a sample on several sides that came with the data, the copies on the first of them stay."""


@dataclass(frozen=True)
class Identical:
    """Which samples are the same once they were prepared.

    `groups` (N,) has the same number for the same samples, that of the first. `left_out` are the indices of
    copies that belong to no split. `remarks` are for the user.
    """

    groups: Array
    left_out: Array
    remarks: tuple[str, ...]

    @property
    def any(self) -> bool:
        """Whether there are two that are the same."""
        return bool((self.groups != np.arange(len(self.groups))).any())


def find_identical(dataset: Dataset) -> Identical:
    """Compare all samples by a hash of their prepared inputs (BLAKE2b, 128 bits)."""
    groups = _groups(dataset)
    copies = np.flatnonzero(groups != np.arange(len(groups)))
    if not len(copies):
        return Identical(groups, copies, ())
    left_out = _left_out(groups, dataset.given)
    remarks = (
        _told(dataset, groups, copies),
        _told_classes(dataset, groups),
        _told_left_out(dataset, left_out),
    )
    return Identical(groups, left_out, tuple(filter(None, remarks)))


def _groups(dataset: Dataset) -> Array:
    samples, arrays = len(dataset.y), list(dataset.arrays.values())
    first, groups = dict[bytes, int](), np.empty(samples, np.int64)
    row_bytes = sum(math.prod(rows.shape[1:]) * rows.dtype.itemsize for rows in arrays)
    step = max(1, _PART_BYTES // row_bytes)
    for start in range(0, samples, step):
        indices = np.arange(start, min(start + step, samples))
        for number, rows in enumerate(zip(*(each[indices] for each in arrays), strict=True), start):
            digest = hashlib.blake2b(digest_size=16)
            for row in rows:
                digest.update(np.ascontiguousarray(row).data)
            groups[number] = first.setdefault(digest.digest(), number)
    return groups


def _left_out(groups: Array, given: Mapping[str, Array]) -> Array:
    """Copies of what lies on a side that came with the data and comes before their own."""
    side = np.full(len(groups), len(_SIDES) - 1)
    for name, indices in given.items():
        side[indices] = _SIDES.index(name)
    first = np.full(len(groups), len(_SIDES))
    np.minimum.at(first, groups, side)
    return np.flatnonzero(side > first[groups])


def _told(dataset: Dataset, groups: Array, copies: Array) -> str:
    again = int(copies[0])
    kept = "all copies stay on one side of the split"
    return (
        f"{len(copies)} samples are copies of others once they are prepared, e.g. {_name(dataset, again)} of "
        f"{_name(dataset, int(groups[again]))}; {kept}"
    )


def _told_classes(dataset: Dataset, groups: Array) -> str:
    differing = np.flatnonzero(dataset.y != dataset.y[groups])
    if not len(differing):
        return ""
    one = int(differing[0])
    first = int(groups[one])
    names = (shown(dataset.class_names[dataset.y[index]], 80) for index in (first, one))
    return (
        f"warning: {len(differing)} of them are of another class than what they are the same as, e.g. "
        f"{_name(dataset, first)} and {_name(dataset, one)}: {' and '.join(names)}; no network can tell them "
        "apart, so correct their classes or remove them"
    )


def _told_left_out(dataset: Dataset, left_out: Array) -> str:
    if not len(left_out):
        return ""
    return (
        f"warning: {len(left_out)} copies of samples for testing or validation were left out of what comes "
        f"after those, e.g. {_name(dataset, int(left_out[0]))}"
    )


def _name(dataset: Dataset, index: int) -> str:
    return shown(dataset.names[index], 80) if dataset.names else f"sample {index}"
