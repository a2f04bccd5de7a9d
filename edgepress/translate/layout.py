"""How a tensor's elements are stored, compared with the order of its axes in ONNX."""

from dataclasses import dataclass

import numpy as np

from edgepress.translate.plan import Array


@dataclass(frozen=True)
class Layout:
    """Stored axis i holds ONNX axis `order[i]`.

    `flattened` marks a rank-2 tensor (N, C·H·W) whose second axis came from an image (C, H, W) that was
    stored as H, W, C and keeps that order: its reader permutes its own weights, so nothing is transposed.
    """

    order: tuple[int, ...]
    flattened: tuple[int, int, int] | None = None

    def position(self, onnx_axis: int) -> int:
        """Where an ONNX axis is stored; negative axes count from the end."""
        return self.order.index(onnx_axis % len(self.order))


def plain(rank: int) -> Layout:
    """Stored as in ONNX."""
    return Layout(tuple(range(rank)))


def channels_last(rank: int) -> Layout:
    """NHWC for rank 4, NWC for rank 3; lower ranks are plain."""
    return Layout((0, *range(2, rank), 1)) if rank >= 3 else plain(rank)


def flattened_rows(image: tuple[int, int, int]) -> Array:
    """For each stored position of a flattened (C, H, W) image, its index in ONNX's order."""
    return np.arange(np.prod(image)).reshape(image).transpose(1, 2, 0).reshape(-1)
