"""Axes of tensors that are the same by the operators between them, and which of them are channels.

The sets are kept by the union-find algorithm (Galler and Fischer, 1964).
"""

from collections.abc import Hashable, Iterable
from typing import Literal

Axis = tuple[Hashable, int]
"""A tensor and the number of its axis."""

Place = Literal["first", "last", ""]

_LAYOUTS: dict[tuple[Place, int], str] = {
    ("first", 3): "NCW", ("first", 4): "NCHW", ("first", 5): "NCDHW",
    ("last", 3): "NWC", ("last", 4): "NHWC", ("last", 5): "NDHWC",
}  # fmt: skip


class Axes:
    """Sets of axes that are the same, some of them channels."""

    def __init__(self) -> None:
        self._parents: dict[Axis, Axis] = {}
        self._marked: list[Axis] = []

    def join(self, pairs: Iterable[tuple[Axis, Axis]]) -> None:
        """The axes of each pair are the same."""
        for one, other in pairs:
            self._parents[self._root(one)] = self._root(other)

    def mark(self, axes: Iterable[Axis]) -> None:
        """These are channels."""
        self._marked.extend(axes)

    def place(self, tensor: Hashable, rank: int) -> Place:
        """Whether a tensor of three axes or more has its channels first, behind the batch, or last.

        '' where nothing shows it, or it is contradicted.
        """
        channels = {self._root(axis) for axis in self._marked} if rank > 2 else set()
        found = [axis for axis in range(rank) if self._root((tensor, axis)) in channels]
        if found == [1]:
            return "first"
        return "last" if found == [rank - 1] else ""

    def _root(self, axis: Axis) -> Axis:
        while (parent := self._parents.get(axis, axis)) != axis:
            self._parents[axis] = self._parents.get(parent, parent)
            axis = parent
        return axis


def layout(place: Place, rank: int) -> str:
    """The usual name of a layout, '' for none."""
    return _LAYOUTS.get((place, rank), "")
