"""A whole data set before it is split; its inputs may lie on disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from edgepress.datasets.prepared import UNKNOWN, Array


class Rows(Protocol):
    """Samples (N, ...) of which some are read at a time; a numpy array is one such."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> "np.dtype[Any]": ...

    def __getitem__(self, indices: Array, /) -> Array:
        """The samples at some indices, in their order."""


@dataclass(frozen=True)
class Dataset:
    """Raw inputs `x` (N, C, H, W) and classes `y` (N,) int64; `value_range` is what `x` may hold.

    `y` counts from 0 in the order of `class_names`; where there are none it is `unknown_classes`. `source`
    and `licence` say whose data this is. `given` has the indices of those splits that the data came with,
    other than training. `remarks` are for the user, and so are `names`, of the samples if they have any.
    """

    x: Rows
    y: Array
    class_names: tuple[str, ...]
    value_range: tuple[float, float]
    source: str
    licence: str
    given: Mapping[str, Array] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        assert len(self.x.shape) == 4, f"inputs of shape {self.x.shape}, not (N, C, H, W)"
        assert self.y.shape == (self.x.shape[0],), f"{self.y.shape} classes for {self.x.shape[0]} inputs"
        least = 0 if self.class_names else UNKNOWN
        assert self.y.min() >= least and self.y.max() < len(self.class_names), "a class without a name"


def unknown_classes(samples: int) -> Array:
    """The classes (samples,) int64 of a data set that has none."""
    return np.full(samples, UNKNOWN, np.int64)
