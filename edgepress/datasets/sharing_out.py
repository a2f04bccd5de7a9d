"""Which members of each class go to which part of a split, so that equal samples stay together."""

from collections.abc import Sequence

import numpy as np

from edgepress.datasets.dataset import Dataset
from edgepress.datasets.prepared import Array
from edgepress.errors import DataError
from edgepress.text import shown

_JUDGED = ("test", "validation")
"""Parts that must not share a sample with each other, nor with what is trained on, which is all the rest."""


def share_out(
    members: Sequence[Array], sizes: dict[str, Array], groups: Array | None
) -> dict[str, list[Array]]:
    """The members of each class that go to each part, in their order.

    Args:
        members: of each class, indices of samples in the order in which they are taken.
        sizes: by part, how many to take of each class (classes,); those of all parts add up to the members.
        groups: (samples,) the same number for the same samples; None if no two are the same.

    Returns:
        For each part the members of each class. With groups, a part's size may be missed by less than a
        group; calibration is taken from what training gets, and may hold copies of it.
    """
    if groups is None:
        return _next_in_turn(members, sizes)
    placed = _Placing(members, groups)
    for name in _JUDGED:
        placed.fill(name, [int(size) for size in sizes[name]])
    rest = placed.of(None)
    kept = [min(1, int(size)) for size in sizes["train"]]
    ends = [
        min(int(size), max(len(own) - keep, 0))
        for own, size, keep in zip(rest, sizes["calibration"], kept, strict=True)
    ]
    return {
        **{name: placed.of(name) for name in _JUDGED},
        "calibration": [own[:end] for own, end in zip(rest, ends, strict=True)],
        "train": [own[end:] for own, end in zip(rest, ends, strict=True)],
    }


def require_every_class(parts: dict[str, Array], dataset: Dataset) -> None:
    """Refuse parts of which one has a class no more.

    Raises:
        DataError: all samples of a class are copies of so few that these cannot be on every side.
    """
    for name, indices in parts.items():
        if name == "calibration" or name in dataset.given:
            continue
        counts = np.bincount(dataset.y[indices], minlength=1) if dataset.class_names else np.array([1])
        present = {label for label, count in enumerate(counts) if count}
        absent = [each for label, each in enumerate(dataset.class_names) if label not in present]
        if absent:
            raise DataError(
                f"class {shown(absent[0])} has no sample for {name} but copies of those elsewhere; bring "
                "more that differ, or leave it out"
            )


def _next_in_turn(members: Sequence[Array], sizes: dict[str, Array]) -> dict[str, list[Array]]:
    taken = np.zeros(len(members), np.int64)
    parts = {}
    for name, size in sizes.items():
        parts[name] = [own[start : start + n] for own, start, n in zip(members, taken, size, strict=True)]
        taken = taken + size
    return parts


class _Placing:
    """Which part each sample goes to, whole groups at a time."""

    def __init__(self, members: Sequence[Array], groups: Array) -> None:
        self._members, self._groups = members, groups
        self._label = {int(index): label for label, own in enumerate(members) for index in own}
        self._together = dict[int, list[int]]()
        for index in self._label:
            self._together.setdefault(int(groups[index]), []).append(index)
        self._part = dict[int, str]()

    def fill(self, name: str, room: list[int]) -> None:
        """Put groups that fit into a part; of a class of which none does, the smallest there is."""
        for label, own in enumerate(self._members):
            before, wanted = room[label], room[label] > 0
            for index in map(int, own):
                if room[label] <= 0:
                    break
                if index not in self._part and len(self._group(index)) <= room[label]:
                    self._put(index, name, room)
            left = [int(index) for index in own if int(index) not in self._part]
            if wanted and room[label] == before and left:
                self._put(min(left, key=lambda index: len(self._group(index))), name, room)

    def of(self, name: str | None) -> list[Array]:
        """Of each class those in a part, or those in none yet, in their order."""
        return [
            np.array([index for index in own if self._part.get(int(index)) == name], np.int64)
            for own in self._members
        ]

    def _group(self, index: int) -> list[int]:
        return self._together[int(self._groups[index])]

    def _put(self, index: int, name: str, room: list[int]) -> None:
        for each in self._group(index):
            self._part[each] = name
            room[self._label[each]] -= 1
