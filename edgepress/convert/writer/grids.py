"""Constants whose elements follow from their places: countings, masks of triangles, one number repeated.

Networks lowered for several sizes hold them in several sizes. A `Pattern` says what they have in common, by
numbers that are one for each of the networks; from these it can be computed as the network runs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from edgepress.convert.writer.builder import Builder
from edgepress.convert.writer.graph import Array, Tensor

Sizes = tuple[int, ...]
"""A number for each of the networks."""

_MOST_EXACT = 2**24
"""Whole numbers up to this are exact in float32."""

_FILLED = ("float32", "int32", "int64", "bool")
"""What LiteRT's FILL makes."""


class Numbers(Protocol):
    """Computes a number that differs between the networks, as a vector of one int32."""

    def __call__(self, number: Sizes, /) -> Tensor: ...


class Pattern(Protocol):
    """What the elements of an array follow from."""

    def made(self, build: Builder, numbers: Numbers, like: Array) -> Tensor:
        """The array computed; `like` is that of the first network."""


def pattern(arrays: Sequence[Array]) -> Pattern | None:
    """What all the arrays, one for each of the networks, have in common; None if nothing is found."""
    if len({array.ndim for array in arrays}) > 1 or not all(array.size for array in arrays):
        return None
    return next(filter(None, (find(arrays) for find in _PATTERNS)), None)


@dataclass(frozen=True)
class _Repeated:
    """One value everywhere."""

    value: Any
    shape: tuple[Sizes, ...]

    def made(self, build: Builder, numbers: Numbers, like: Array) -> Tensor:
        dtype = like.dtype.name if like.dtype.name in _FILLED else "float32"
        sizes = _vector(build, numbers, self.shape)
        full = build.add("FILL", [sizes, build.constant(np.asarray(self.value, dtype))], like.shape, dtype)
        return build.cast(full, like.dtype.name)


def _repeated(arrays: Sequence[Array]) -> _Repeated | None:
    value = arrays[0].reshape(-1)[0]
    alike = all(np.array_equal(array, np.full_like(array, value)) for array in arrays)
    return _Repeated(value, _shape(arrays)) if alike and arrays[0].ndim else None


@dataclass(frozen=True)
class _Counted:
    """(start + Σ stride · place) / divisor, over the axes."""

    start: Sizes
    strides: tuple[Sizes, ...]
    shape: tuple[Sizes, ...]
    divisor: int

    def made(self, build: Builder, numbers: Numbers, like: Array) -> Tensor:
        rank = like.ndim
        total = _shaped(build, numbers(self.start), [1] * rank)
        for axis, stride in enumerate(self.strides):
            if any(stride):
                places = _places(build, numbers, self.shape[axis], like.shape[axis], axis, rank)
                steps = places if set(stride) == {1} else build.times(places, numbers(stride))
                total = build.plus(total, steps)
        if any(
            not any(stride) and set(size) != {1}
            for stride, size in zip(self.strides, self.shape, strict=True)
        ):
            sizes = _vector(build, numbers, self.shape)
            total = build.add("BROADCAST_TO", [total, sizes], like.shape, "int32")
        made = build.cast(total, like.dtype.name)
        return made if self.divisor == 1 else build.times(made, 1 / self.divisor)


def _counted(arrays: Sequence[Array]) -> _Counted | None:
    divisors = (1, 2, 4) if arrays[0].dtype == np.float32 else (1,)
    return next(filter(None, (_counted_in(arrays, divisor) for divisor in divisors)), None)


def _counted_in(arrays: Sequence[Array], divisor: int) -> _Counted | None:
    """A counting in whole numbers, or in halves or quarters, of which floats hold the sums exactly."""
    arrays = arrays if divisor == 1 else [array * divisor for array in arrays]
    if not _are_whole(arrays):
        return None
    strides = []
    for axis in range(arrays[0].ndim):
        if (stride := _stride(arrays, axis)) is None:
            return None
        strides.append(stride)
    start = tuple(int(array.reshape(-1)[0]) for array in arrays)
    for number, array in enumerate(arrays):
        grid = np.full(array.shape, start[number])
        for axis, stride in enumerate(strides):
            grid = grid + stride[number] * _along(array.shape[axis], axis, array.ndim)
        if not np.array_equal(grid, array):
            return None
    return _Counted(start, tuple(strides), _shape(arrays), divisor)


def _stride(arrays: Sequence[Array], axis: int) -> Sizes | None:
    """How much is added from one place to the next; where there is no next, what the others add."""
    steps = [
        int(array.take(1, axis).reshape(-1)[0] - array.reshape(-1)[0]) if array.shape[axis] > 1 else None
        for array in arrays
    ]
    known = {step for step in steps if step is not None}
    if None in steps and len(known) > 1:
        return None
    common = known.pop() if known else 0
    return tuple(common if step is None else step for step in steps)


_COMPARISONS: dict[str, Callable[[Array, int], Array]] = {
    "GREATER_EQUAL": lambda ahead, diagonal: ahead >= diagonal,
    "LESS_EQUAL": lambda ahead, diagonal: ahead <= diagonal,
    "EQUAL": lambda ahead, diagonal: ahead == diagonal,
}


@dataclass(frozen=True)
class _Triangle:
    """One value where column − row compares to a diagonal as `kind` says, another one elsewhere."""

    kind: str
    diagonal: Sizes
    inside: Any
    outside: Any
    shape: tuple[Sizes, ...]

    def made(self, build: Builder, numbers: Numbers, like: Array) -> Tensor:
        rank, dtype = like.ndim, like.dtype.name
        ahead = _places(build, numbers, self.shape[-1], like.shape[-1], rank - 1, rank)
        if rank > 1 and set(self.shape[-2]) != {1}:
            rows = _places(build, numbers, self.shape[-2], like.shape[-2], rank - 2, rank)
            ahead = build.minus(ahead, rows)
        mask = build.binary(self.kind, ahead, numbers(self.diagonal), dtype="bool")
        if dtype != "bool":
            inside, outside = (build.constant(value, dtype) for value in (self.inside, self.outside))
            mask = build.select(mask, inside, outside)
        elif not self.inside:
            mask = build.unary("LOGICAL_NOT", mask)
        if all(set(size) == {1} for size in self.shape[:-2]):
            return mask
        sizes = _vector(build, numbers, self.shape)
        return build.add("BROADCAST_TO", [mask, sizes], like.shape, dtype)


def _triangle(arrays: Sequence[Array]) -> _Triangle | None:
    values = np.unique(arrays[0])
    if len(values) != 2 or not arrays[0].ndim:
        return None
    for inside, outside in (values, values[::-1]):
        for kind, compare in _COMPARISONS.items():
            found = [_diagonal(array, inside, outside, kind, compare) for array in arrays]
            if None not in found:
                diagonal = tuple(each for each in found if each is not None)
                return _Triangle(kind, diagonal, inside, outside, _shape(arrays))
    return None


def _diagonal(
    array: Array, inside: Any, outside: Any, kind: str, compare: Callable[[Array, int], Array]
) -> int | None:
    """The diagonal at which the values change; None if they do not, or otherwise."""
    mask = array == inside
    if not mask.any() or mask.all() or not np.array_equal(array[~mask], np.full_like(array[~mask], outside)):
        return None
    rows = array.shape[-2] if array.ndim > 1 else 1
    ahead = np.broadcast_to(
        _along(array.shape[-1], 1, 2) - _along(rows, 0, 2), (*array.shape[:-2], rows, array.shape[-1])
    )
    ahead = ahead.reshape(array.shape)
    diagonal = int(ahead[mask].max() if kind == "LESS_EQUAL" else ahead[mask].min())
    return diagonal if np.array_equal(compare(ahead, diagonal), mask) else None


@dataclass(frozen=True)
class _Bordered:
    """A counting by 1 that stays at its first and last numbers for some places, or then begins anew."""

    start: Sizes
    limits: tuple[Sizes, Sizes]
    begins_anew: bool
    shape: tuple[Sizes, ...]

    def made(self, build: Builder, numbers: Numbers, like: Array) -> Tensor:
        counting = build.plus(
            _places(build, numbers, self.shape[0], like.shape[0], 0, 1), numbers(self.start)
        )
        low, high = self.limits
        if self.begins_anew:
            made = build.binary("FLOOR_MOD", counting, numbers(high))
        else:
            made = build.binary("MAXIMUM", build.binary("MINIMUM", counting, numbers(high)), numbers(low))
        return build.cast(made, like.dtype.name)


def _bordered(arrays: Sequence[Array]) -> _Bordered | None:
    if not _are_whole(arrays) or arrays[0].ndim != 1:
        return None
    for begins_anew, find in ((False, _held), (True, _wrapped)):
        found = [find(array.astype(np.int64)) for array in arrays]
        if None not in found:
            start, low, high = zip(*(each for each in found if each is not None), strict=True)
            return _Bordered(start, (low, high), begins_anew, _shape(arrays))
    return None


def _held(array: Array) -> tuple[int, int, int] | None:
    low, high, places = int(array[0]), int(array[-1]), np.arange(len(array))
    inner = np.flatnonzero((array > low) & (array < high))
    if not inner.size:
        return None
    start = int(array[inner[0]] - inner[0])
    return (start, low, high) if np.array_equal(np.clip(places + start, low, high), array) else None


def _wrapped(array: Array) -> tuple[int, int, int] | None:
    start, period = int(array[0]), int(array.max()) + 1
    same = np.array_equal((np.arange(len(array)) + start) % period, array)
    return (start, 0, period) if same else None


_PATTERNS: tuple[Callable[[Sequence[Array]], Pattern | None], ...] = (
    _repeated,
    _counted,
    _triangle,
    _bordered,
)


def _shape(arrays: Sequence[Array]) -> tuple[Sizes, ...]:
    return tuple(zip(*(array.shape for array in arrays), strict=True))


def _are_whole(arrays: Sequence[Array]) -> bool:
    """Whether the elements are whole numbers that int32 holds, and floats exactly."""
    for array in arrays:
        if array.dtype.kind not in "iuf":
            return False
        limit = _MOST_EXACT if array.dtype.kind == "f" else 2**31 - 1
        if not (np.abs(array.astype(np.float64)) <= limit).all() or (array != np.rint(array)).any():
            return False
    return True


def _along(size: int, axis: int, rank: int) -> Array:
    """0, 1, 2… along one axis of several."""
    return np.arange(size).reshape([-1 if i == axis else 1 for i in range(rank)])


def _places(build: Builder, numbers: Numbers, size: Sizes, own: int, axis: int, rank: int) -> Tensor:
    """0, 1, 2… along one axis of several, as many as the size says: `own` in the first network."""
    if len(set(size)) == 1:
        return build.constant(_along(size[0], axis, rank).astype(np.int32))
    limit = _shaped(build, numbers(size), [])
    ends = [build.constant(0, "int32"), limit, build.constant(1, "int32")]
    counting = build.add("RANGE", ends, (own,), "int32")
    if rank == 1:
        return counting
    shape = [-1 if i == axis else 1 for i in range(rank)]
    whole = [own if i == axis else 1 for i in range(rank)]
    return build.add("RESHAPE", [counting, build.integers(shape)], whole, "int32", new_shape=tuple(shape))


def _shaped(build: Builder, number: Tensor, shape: list[int]) -> Tensor:
    """One number in a shape of ones."""
    return build.add("RESHAPE", [number, build.integers(shape)], shape, "int32", new_shape=tuple(shape))


def _vector(build: Builder, numbers: Numbers, parts: Sequence[Sizes]) -> Tensor:
    return build.concat([numbers(part) for part in parts], 0)
