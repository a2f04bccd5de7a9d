"""How much memory the tensors of an inference need at most.

The plan is that of TensorFlow Lite Micro's `GreedyMemoryPlanner`
(tensorflow/lite/micro/memory_planner/greedy_memory_planner.cc): buffers by size, the largest first, each at
the lowest offset at which it overlaps with none that lives at the same time.
"""

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ALIGNMENT = 16
"""Bytes; TFLM's `MicroArenaBufferAlignment`."""

_MOST = 5_000
"""More buffers than that would take long to plan."""


@dataclass(frozen=True)
class Buffer:
    """A tensor of `size` bytes that lives from step `first` to step `last`, both included."""

    size: int
    first: int
    last: int


def lifetimes(
    sizes: Sequence[int | None],
    steps: Sequence[tuple[Sequence[int], Sequence[int]]],
    inputs: Iterable[int],
    outputs: Iterable[int],
) -> list[Buffer] | None:
    """Buffers of a network.

    Args:
        sizes: of each tensor in bytes; 0 for constants, which are no part of the arena, None if unknown.
        steps: what each operator reads and makes, as indices of tensors, in the order of execution.
        inputs: the network's; they live from the start.
        outputs: the network's; they live to the end.

    Returns:
        None if a tensor that is used has no known size.
    """
    first: dict[int, int] = dict.fromkeys(inputs, 0)
    last: dict[int, int] = dict.fromkeys(first, 0)
    for number, (read, made) in enumerate(steps):
        for index in made:
            first.setdefault(index, number)
        for index in (*read, *made):
            last[index] = number
    last.update(dict.fromkeys(outputs, max(len(steps) - 1, 0)))
    buffers = []
    for index, start in first.items():
        size = sizes[index]
        if size is None:
            return None
        if size:
            buffers.append(Buffer(size, start, last[index]))
    return buffers


def arena_bytes(buffers: Sequence[Buffer] | None) -> int | None:
    """The size of the arena that holds all buffers; None if unknown or if there are far too many."""
    if buffers is None or len(buffers) > _MOST:
        return None
    placed: list[tuple[int, int, Buffer]] = []
    for buffer in sorted(buffers, key=lambda each: -each.size):
        size = -(-buffer.size // ALIGNMENT) * ALIGNMENT
        offset = 0
        for start, end, other in placed:
            if other.first > buffer.last or other.last < buffer.first:
                continue
            if start - offset >= size:
                break
            offset = max(offset, end)
        bisect.insort(placed, (offset, offset + size, buffer), key=lambda each: each[0])
    return max((end for _, end, _ in placed), default=0)
