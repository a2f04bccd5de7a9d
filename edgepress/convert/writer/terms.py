"""Numbers that follow from the sizes of tensors, found by what they are in networks for several sizes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations_with_replacement, product

import numpy as np

from edgepress.convert.writer.builder import Builder
from edgepress.convert.writer.graph import Array, Operator, Tensor
from edgepress.convert.writer.grids import Sizes


@dataclass(frozen=True)
class Size:
    """Of an axis of a tensor."""

    tensor: Tensor
    axis: int


@dataclass(frozen=True)
class Term:
    """(factor · size · other size + raised) // divisor · times + added."""

    sizes: tuple[Size, ...]
    factor: int = 1
    raised: int = 0
    divisor: int = 1
    times: int = 1
    added: int = 0


class Known:
    """The sizes that tensors have by now, where the networks differ in them."""

    def __init__(self) -> None:
        self._found: dict[Sizes, Size] = {}
        self._sizes: dict[int, list[Sizes]] = {}

    def note(self, tensors: Sequence[Tensor]) -> None:
        """A tensor of each of the networks."""
        sizes = list(zip(*(tensor.shape for tensor in tensors), strict=True))
        self._sizes[id(tensors[0])] = sizes
        for axis, each in enumerate(sizes):
            if len(set(each)) > 1:
                self._found.setdefault(each, Size(tensors[0], axis))

    def of(self, tensor: Tensor) -> list[Sizes]:
        """The sizes of a tensor of the first network in all of them."""
        return self._sizes.get(id(tensor), [(size,) for size in tensor.shape])

    def term(self, wanted: Sizes, operator: Operator) -> Term | None:
        """How to compute a number: most plainly, and of what the operator reads if that will do."""
        own = {
            sizes: Size(tensor, axis)
            for tensor in operator.inputs
            if tensor is not None and not tensor.constant
            for axis, sizes in enumerate(self.of(tensor))
            if len(set(sizes)) > 1
        }
        sizes = {**own, **{key: size for key, size in self._found.items() if key not in own}}
        if wanted in sizes:
            return Term((sizes[wanted],))
        ways = (_of_one(wanted, sizes), _of_two(wanted, sizes), _of_parts(wanted, sizes))
        return next(chain.from_iterable(ways), None)


def _of_one(wanted: Sizes, sizes: dict[Sizes, Size]) -> Iterator[Term]:
    target = np.array(wanted)
    for key, size in sizes.items():
        own = np.array(key)
        if not (own > 0).all():
            continue
        if not (target % own).any() and len(set(factors := target // own)) == 1:
            yield Term((size,), factor=int(factors[0]))
        if (target > 0).all() and not (own % target).any() and len(set(parts := own // target)) == 1:
            yield Term((size,), divisor=int(parts[0]))
    for key, size in sizes.items():
        slope = _slope(target, np.array(key))
        if slope:
            yield Term((size,), factor=slope, added=int(wanted[0] - slope * key[0]))


def _slope(target: Array, own: Array) -> int:
    """a of target = a·own + b, 0 if there is none."""
    place = int(np.argmax(own != own[0]))
    step, change = int(own[place] - own[0]), int(target[place] - target[0])
    if not step or change % step:
        return 0
    slope = change // step
    return slope if np.array_equal(target - target[0], slope * (own - own[0])) else 0


def _of_two(wanted: Sizes, sizes: dict[Sizes, Size]) -> Iterator[Term]:
    target = np.array(wanted)
    for (one, left), (other, right) in combinations_with_replacement(sizes.items(), 2):
        product = np.array(one) * np.array(other)
        if not (product > 0).all() or (target % product).any():
            continue
        if len(set((factors := target // product).tolist())) == 1:
            yield Term((left, right), factor=int(factors[0]))


def _of_parts(wanted: Sizes, sizes: dict[Sizes, Size]) -> Iterator[Term]:
    """Parts of a size, rounded down or up, and more or less: strides, halves, one and a half.

    Also as many times as it was divided by: where the last of windows that are so far apart begins.
    """
    target = np.array(wanted)
    for (key, size), divisor in product(sizes.items(), range(2, _MOST_PARTS + 1)):
        own = np.array(key)
        for factor in range(1, 2 * divisor):
            if math.gcd(factor, divisor) > 1:
                continue
            for raised in (0, divisor - 1, *range(1, divisor - 1)):
                part = (own * factor + raised) // divisor
                for times in (1, divisor) if factor == 1 else (1,):
                    added = target - part * times
                    if (added == added[0]).all():
                        yield Term((size,), factor, raised, divisor, times, int(added[0]))


_MOST_PARTS = 8


def vector(build: Builder, parts: Sequence[int | Term]) -> Tensor:
    """The numbers as a vector: neighbouring sizes of one tensor are taken together."""
    groups: list[list[int | Term]] = []
    for part in parts:
        if groups and _follows(groups[-1][-1], part):
            groups[-1].append(part)
        else:
            groups.append([part])
    return build.concat([group(build, parts) for parts in groups], 0)


def _follows(one: int | Term, other: int | Term) -> bool:
    if isinstance(one, int) or isinstance(other, int):
        return isinstance(one, int) and isinstance(other, int)
    left, right = one.sizes[0], other.sizes[0]
    plain = replace(one, sizes=()) == replace(other, sizes=()) and len(one.sizes) == len(other.sizes) == 1
    return plain and left.tensor is right.tensor and left.axis + 1 == right.axis


def group(build: Builder, parts: Sequence[int | Term]) -> Tensor:
    """Numbers alone, or neighbouring sizes of one tensor, as a vector of int32."""
    terms = [part for part in parts if isinstance(part, Term)]
    if not terms:
        return build.integers([part for part in parts if isinstance(part, int)])
    first = terms[0]
    made = _sizes(build, first.sizes[0], len(terms))
    for size in first.sizes[1:]:
        made = build.times(made, _sizes(build, size, 1))
    if first.factor != 1:
        made = build.times(made, first.factor)
    if first.raised:
        made = build.plus(made, first.raised)
    if first.divisor != 1:
        made = build.binary("FLOOR_DIV", made, first.divisor)
    if first.times != 1:
        made = build.times(made, first.times)
    return build.plus(made, first.added) if first.added else made


def _sizes(build: Builder, size: Size, count: int) -> Tensor:
    """The sizes of so many axes of a tensor, from this one on."""
    return build.sizes(size.tensor, range(size.axis, size.axis + count))
