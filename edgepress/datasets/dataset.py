"""A whole data set in memory, before it is split."""

from dataclasses import dataclass

from edgepress.datasets.prepared import Array


@dataclass(frozen=True)
class Dataset:
    """Raw inputs `x` (N, C, H, W) uint8 and classes `y` (N,) int64; `value_range` is what `x` may hold.

    `y` counts from 0 in the order of `class_names`. `source` and `licence` say whose data this is.
    """

    x: Array
    y: Array
    class_names: tuple[str, ...]
    value_range: tuple[float, float]
    source: str
    licence: str

    def __post_init__(self) -> None:
        assert self.x.ndim == 4, f"inputs of shape {self.x.shape}, not (N, C, H, W)"
        assert self.y.shape == (len(self.x),), f"{self.y.shape} classes for {len(self.x)} inputs"
        assert self.y.min() >= 0 and self.y.max() < len(self.class_names), "a class without a name"
