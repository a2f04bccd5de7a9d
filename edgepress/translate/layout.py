"""How a tensor's elements are stored, compared with the order of its axes in ONNX."""

import math
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


def moves_nothing(order: tuple[int, ...], sizes: list[int | None]) -> bool:
    """Whether a transpose only moves axes of size 1, so that a reshape does the same."""
    kept = [axis for axis in order if sizes[axis] != 1]
    return kept == sorted(kept)


_OPEN = 2**61 - 1

Sizes = tuple[int | None, ...]
Order = tuple[int, ...]
Orders = tuple[tuple[int, ...], tuple[int, ...]]


def regrouped(
    order: tuple[int, ...], shape: Sizes, target: Sizes, wish: frozenset[tuple[int, ...]] = frozenset()
) -> Orders | None:
    """How to reshape a tensor without putting it into ONNX's order first.

    `shape` and `target` are in ONNX's order. Axes that are split or joined form blocks; blocks keep the
    place in which they are stored, and only the axes within one have to be in order. If they are not, so
    that data has to move, blocks go where one of the orders in `wish` has them. Returns the order of
    stored axes that this takes, which is `order` wherever possible, and the order after it; None
    where sizes are open or 0 and only a plain reshape will do.
    """
    blocks = _blocks(_with_open_size(shape), _with_open_size(target))
    if blocks is None:
        return None
    first = _places(order, [axes for axes, _ in blocks])
    needed = [axis for number in first for axis in blocks[number][0]]
    if needed != [axis for axis in order if axis in needed]:
        for wished in sorted(wish):
            places = _places(wished, [axes for _, axes in blocks])
            made = [axis for number in places for axis in blocks[number][1]]
            if made == [axis for axis in wished if axis in made]:
                needed = [axis for number in places for axis in blocks[number][0]]
                return _with_ones(order, needed, shape), wished
    made = [axis for number in first for axis in blocks[number][1]]
    return _with_ones(order, needed, shape), _placed(made, target)


def _places(order: tuple[int, ...], blocks: list[list[int]]) -> list[int]:
    """The numbers of the blocks, in the order in which their first axes are stored."""
    of = {axis: number for number, axes in enumerate(blocks) for axis in axes}
    return list(dict.fromkeys(of[axis] for axis in order if axis in of))


def _blocks(shape: Sizes, target: Sizes) -> list[tuple[list[int], list[int]]] | None:
    """Runs of axes, those of size 1 left out, that hold the same elements before and after."""
    left, right = ([i for i, size in enumerate(sizes) if size != 1] for sizes in (shape, target))
    blocks: list[tuple[list[int], list[int]]] = []
    if any(not shape[i] for i in left) or any(not target[i] for i in right):
        return None
    while left and right:
        one, other = [left.pop(0)], [right.pop(0)]
        while (a := _product(shape, one)) != (b := _product(target, other)):
            source, taken = (left, one) if a < b else (right, other)
            if not source:
                return None
            taken.append(source.pop(0))
        blocks.append((one, other))
    return None if left or right else blocks


def _with_open_size(sizes: Sizes) -> Sizes:
    """One open size, the batch's wherever it stands, as a prime that no other size is a multiple of."""
    return tuple(_OPEN if size is None else size for size in sizes) if sizes.count(None) == 1 else sizes


def _product(sizes: Sizes, axes: list[int]) -> int:
    return math.prod(sizes[axis] or 0 for axis in axes)


def _with_ones(order: tuple[int, ...], needed: list[int], shape: Sizes) -> tuple[int, ...]:
    """`order` if it already has the axes larger than 1 as needed, else these and then the others."""
    if [axis for axis in order if shape[axis] != 1] == needed:
        return order
    return (*(axis for axis in order if shape[axis] == 1), *needed)


def _placed(made: list[int], target: Sizes) -> tuple[int, ...]:
    """The axes in their stored order with those of size 1 where an image or ONNX has them.

    Failing that, each stands behind the axis that it follows in ONNX.
    """
    rank = len(target)
    for order in (channels_last(rank).order, plain(rank).order):
        if [axis for axis in order if target[axis] != 1] == made:
            return order
    placed = list(made)
    for axis in (axis for axis in range(rank) if target[axis] == 1):
        placed.insert(placed.index(axis - 1) + 1 if axis else 0, axis)
    return tuple(placed)
