"""A whole data set before it is split; its inputs may lie on disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgepress.datasets.prepared import UNKNOWN, Array
from edgepress.datasets.rows import Rows


@dataclass(frozen=True)
class Dataset:
    """Raw inputs and classes `y` (N,) int64.

    Inputs are images or vectors `x` (N, C, H, W), which may hold values within `value_range`, or else
    `named`: arrays (N, ...) of any type and shape that are the inputs of a network by their names.

    `y` counts from 0 in the order of `class_names`; where there are none it is `unknown_classes`. `source`
    and `licence` say whose data this is. `given` has the indices of those splits that the data came with,
    other than training. `remarks` are for the user, and so are `names`, of the samples if they have any.
    """

    x: Rows | None
    y: Array
    class_names: tuple[str, ...]
    value_range: tuple[float, float]
    source: str
    licence: str
    given: Mapping[str, Array] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    names: Sequence[str] = ()
    named: Mapping[str, Rows] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert (self.x is None) == bool(self.named), "images or named inputs, one of the two"
        assert self.x is None or len(self.x.shape) == 4, f"inputs of shape {self.x.shape}, not (N, C, H, W)"
        for name, rows in self.arrays.items():
            assert self.y.shape == rows.shape[:1], f"{self.y.shape} classes for {rows.shape} of {name!r}"
        least = 0 if self.class_names else UNKNOWN
        assert self.y.min() >= least and self.y.max() < len(self.class_names), "a class without a name"

    @property
    def arrays(self) -> Mapping[str, Rows]:
        """All inputs by the names of their files: `x`, or those of the network's inputs."""
        return self.named if self.x is None else {"x": self.x}


def unknown_classes(samples: int) -> Array:
    """The classes (samples,) int64 of a data set that has none."""
    return np.full(samples, UNKNOWN, np.int64)
