"""One network for any size of what it leaves open, from the same network lowered for a few sizes.

A rule of the writer makes a network for given sizes, and need not know which of them are open. What differs
between the networks for several sizes is what follows from them: numbers in the operands that say shapes and
places. Each such number is found again among the sizes of the tensors that are there by then, and becomes −1,
where the operator can tell it itself, or is computed as the network runs (SHAPE).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import Any

import numpy as np

from edgepress.convert.writer.builder import Builder
from edgepress.convert.writer.graph import Array, Graph, Operator, Tensor
from edgepress.errors import UnsupportedModelError

Sizes = tuple[int, ...]
"""A number for each of the networks."""

_FROM_OPERANDS = ("new_shape",)
"""Options that repeat an operand."""

_TO_THE_END = 2**31 - 1


class NotResizableError(UnsupportedModelError):
    """A network that has sizes built in; `node` is where."""

    def __init__(self, node: str, why: str) -> None:
        super().__init__(f"node {node!r}: {why}, which depends on sizes that the model leaves open")
        self.node = node


def resizable(graphs: Sequence[Graph], computed: bool = True) -> Graph:
    """The first of the networks, changed to take other sizes, too.

    Args:
        graphs: one network for different sizes; changed.
        computed: whether operators may be added that compute sizes as the network runs.

    Raises:
        NotResizableError: a number that depends on the sizes cannot be computed.
    """
    first = graphs[0]
    _require_alike(graphs)
    _open(graphs, computed)
    for ends in (*zip(*(graph.inputs for graph in graphs), strict=True),
                 *zip(*(graph.outputs for graph in graphs), strict=True)):  # fmt: skip
        ends[0].signature = _signature(ends)
    return first


def _open(graphs: Sequence[Graph], computed: bool) -> None:
    """Change the first of the networks, and what is within it, to take other sizes."""
    first, others = graphs[0], graphs[1:]
    known, operators = _Known(), list[Operator]()
    for number in range(len(first.inputs)):
        known.note([graph.inputs[number] for graph in graphs])
    for place, operator in enumerate(first.operators):
        same = [operator, *(graph.operators[place] for graph in others)]
        operators += _opened(same, known, computed)
        for field in operator.graphs:
            _open([each.graphs[field] for each in same], computed)
        operators.append(operator)
        for number in range(len(operator.outputs)):
            known.note([each.outputs[number] for each in same])
    first.operators = operators


def _signature(ends: Sequence[Tensor]) -> tuple[int, ...] | None:
    """The shape with −1 where the networks have different sizes; None if they have the same."""
    shapes = zip(*(tensor.shape for tensor in ends), strict=True)
    open_sizes = tuple(sizes[0] if len(set(sizes)) == 1 else -1 for sizes in shapes)
    return open_sizes if -1 in open_sizes else None


def _require_alike(graphs: Sequence[Graph]) -> None:
    first = graphs[0]
    for graph in graphs[1:]:
        for one, other in zip(first.operators, graph.operators, strict=False):
            if _form(one) != _form(other):
                raise NotResizableError("; ".join(one.nodes), f"it becomes {one.kind} or {other.kind}")
            for field in one.graphs:
                _require_alike([one.graphs[field], other.graphs[field]])
        if len(first.operators) != len(graph.operators):
            raise NotResizableError(first.output_names[0], "how many operators it takes")


def _form(operator: Operator) -> tuple[Any, ...]:
    """What must be the same whatever the sizes are."""
    options = {key: value for key, value in operator.options.items() if key not in _FROM_OPERANDS}
    inputs = [None if tensor is None else (tensor.constant, tensor.dtype, len(tensor.shape))
              for tensor in operator.inputs]  # fmt: skip
    outputs = [(tensor.dtype, len(tensor.shape)) for tensor in operator.outputs]
    return operator.kind, sorted(options.items(), key=str), inputs, outputs


@dataclass(frozen=True)
class _Size:
    """Of an axis of a tensor."""

    tensor: Tensor
    axis: int


@dataclass(frozen=True)
class _Term:
    """factor · size · other size // divisor + added."""

    sizes: tuple[_Size, ...]
    factor: int = 1
    divisor: int = 1
    added: int = 0


class _Known:
    """The sizes that tensors have by now, where the networks differ in them."""

    def __init__(self) -> None:
        self._found: dict[Sizes, _Size] = {}
        self._sizes: dict[int, list[Sizes]] = {}

    def note(self, tensors: Sequence[Tensor]) -> None:
        """A tensor of each of the networks."""
        sizes = list(zip(*(tensor.shape for tensor in tensors), strict=True))
        self._sizes[id(tensors[0])] = sizes
        for axis, each in enumerate(sizes):
            if len(set(each)) > 1:
                self._found.setdefault(each, _Size(tensors[0], axis))

    def of(self, tensor: Tensor) -> list[Sizes]:
        """The sizes of a tensor of the first network in all of them."""
        return self._sizes.get(id(tensor), [(size,) for size in tensor.shape])

    def term(self, wanted: Sizes, operator: Operator) -> _Term | None:
        """How to compute a number: most plainly, and of what the operator reads if that will do."""
        own = {
            sizes: _Size(tensor, axis)
            for tensor in operator.inputs
            if tensor is not None and not tensor.constant
            for axis, sizes in enumerate(self.of(tensor))
            if len(set(sizes)) > 1
        }
        sizes = {**own, **{key: size for key, size in self._found.items() if key not in own}}
        if wanted in sizes:
            return _Term((sizes[wanted],))
        return next(_of_one(wanted, sizes), None) or next(_of_two(wanted, sizes), None)


def _of_one(wanted: Sizes, sizes: dict[Sizes, _Size]) -> Iterator[_Term]:
    target = np.array(wanted)
    for key, size in sizes.items():
        own = np.array(key)
        if not (own > 0).all():
            continue
        if not (target % own).any() and len(set(factors := target // own)) == 1:
            yield _Term((size,), factor=int(factors[0]))
        if (target > 0).all() and not (own % target).any() and len(set(parts := own // target)) == 1:
            yield _Term((size,), divisor=int(parts[0]))
    for key, size in sizes.items():
        slope = _slope(target, np.array(key))
        if slope:
            yield _Term((size,), factor=slope, added=int(wanted[0] - slope * key[0]))


def _slope(target: Array, own: Array) -> int:
    """a of target = a·own + b, 0 if there is none."""
    changes, steps = np.diff(target), np.diff(own)
    if not steps.all() or (changes % steps).any():
        return 0
    slopes = changes // steps
    return int(slopes[0]) if len(set(slopes.tolist())) == 1 else 0


def _of_two(wanted: Sizes, sizes: dict[Sizes, _Size]) -> Iterator[_Term]:
    target = np.array(wanted)
    for (one, left), (other, right) in combinations_with_replacement(sizes.items(), 2):
        product = np.array(one) * np.array(other)
        if not (product > 0).all() or (target % product).any():
            continue
        if len(set((factors := target // product).tolist())) == 1:
            yield _Term((left, right), factor=int(factors[0]))


def _opened(same: Sequence[Operator], known: _Known, computed: bool) -> list[Operator]:
    """Change the first of the operators to take any size; returns those that have to go before it."""
    first, before, changed = same[0], list[Operator](), dict[int, Tensor]()
    for place, operand in enumerate(first.inputs):
        if operand is None or not operand.constant:
            continue
        values = [each.inputs[place].values for each in same]  # type: ignore[union-attr]
        if all(_equal(values[0], other) for other in values[1:]):
            continue
        changed[place], added = _operand(same, place, known, computed)
        for option in _FROM_OPERANDS:
            first.options.pop(option, None)
        before += added
    for place, operand in changed.items():
        first.inputs[place] = operand
    return before


def _equal(one: Array | None, other: Array | None) -> bool:
    if one is other:
        return True
    assert one is not None
    assert other is not None
    one, other = np.asarray(one), np.asarray(other)
    alike = one.shape == other.shape and one.dtype == other.dtype
    if alike and one.strides == other.strides and one.ctypes.data == other.ctypes.data:
        return True
    return alike and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _operand(
    same: Sequence[Operator], place: int, known: _Known, computed: bool
) -> tuple[Tensor, list[Operator]]:
    """The operand at this place for any sizes, and the operators that compute it."""
    first, node = same[0], "; ".join(same[0].nodes)
    operands = [each.inputs[place] for each in same]
    arrays = [operand.values for operand in operands if operand is not None and operand.values is not None]
    own = operands[0]
    assert own is not None
    if own.dtype not in ("int32", "int64") or len({array.shape for array in arrays}) > 1:
        raise NotResizableError(node, f"it reads a constant of {own.dtype}, {own.shape}")
    numbers = np.stack([array.reshape(-1) for array in arrays])
    plain = _told_by_the_operator(same, place, numbers)
    differing = [i for i in range(numbers.shape[1]) if plain[i] is None]
    if not differing:
        values = np.array(plain, own.dtype).reshape(own.shape)
        return Tensor(own.name, own.shape, own.dtype, None, values), []
    if not computed:
        raise NotResizableError(node, f"its operand {place} holds a size")
    parts: list[int | _Term] = []
    for i, number in enumerate(plain):
        term = number if number is not None else known.term(tuple(numbers[:, i].tolist()), first)
        if term is None:
            raise NotResizableError(node, f"its operand {place} holds {numbers[0, i]}, {numbers[1, i]} …")
        parts.append(term)
    build = Builder()
    build.begin(first.nodes[0] if first.nodes else "")
    made = build.reshape(_vector(build, parts), own.shape)
    return build.cast(made, own.dtype), build.operators


def _told_by_the_operator(same: Sequence[Operator], place: int, numbers: Array) -> list[int | None]:
    """The numbers that are the same for all sizes, or that the operator finds out itself; None for others."""
    fixed: list[int | None] = [int(row[0]) if (row == row[0]).all() else None for row in numbers.T]
    kind = same[0].kind
    if kind == "RESHAPE":
        if fixed.count(None) and -1 not in fixed:
            fixed[_last(fixed)] = -1
        return fixed
    if kind not in ("SLICE", "STRIDED_SLICE") or place != 2:
        return fixed
    for axis, number in enumerate(fixed):
        if number is None and all(
            _reaches_the_end(each, int(size), axis) for each, size in zip(same, numbers[:, axis], strict=True)
        ):
            fixed[axis] = -1 if kind == "SLICE" else _TO_THE_END
    return fixed


def _reaches_the_end(cut: Operator, last: int, axis: int) -> bool:
    """Whether a cut of this size, or to this place, takes all that is left of an axis."""
    x, begin = cut.inputs[:2]
    if x is None or begin is None or begin.values is None:
        return False
    start = int(begin.values.reshape(-1)[axis]) if cut.kind == "SLICE" else 0
    return start + last == x.shape[axis]


def _last(numbers: Sequence[int | None]) -> int:
    return max(i for i, number in enumerate(numbers) if number is None)


def _vector(build: Builder, parts: Sequence[int | _Term]) -> Tensor:
    """The numbers as a vector: neighbouring sizes of one tensor are taken together."""
    groups: list[list[int | _Term]] = []
    for part in parts:
        if groups and _follows(groups[-1][-1], part):
            groups[-1].append(part)
        else:
            groups.append([part])
    return build.concat([_group(build, group) for group in groups], 0)


def _follows(one: int | _Term, other: int | _Term) -> bool:
    if isinstance(one, int) or isinstance(other, int):
        return isinstance(one, int) and isinstance(other, int)
    left, right = one.sizes[0], other.sizes[0]
    plain = replace(one, sizes=()) == replace(other, sizes=()) and len(one.sizes) == len(other.sizes) == 1
    return plain and left.tensor is right.tensor and left.axis + 1 == right.axis


def _group(build: Builder, group: Sequence[int | _Term]) -> Tensor:
    terms = [part for part in group if isinstance(part, _Term)]
    if not terms:
        return build.integers([part for part in group if isinstance(part, int)])
    first = terms[0]
    made = _sizes(build, first.sizes[0], len(terms))
    for size in first.sizes[1:]:
        made = build.times(made, _sizes(build, size, 1))
    if first.factor != 1:
        made = build.times(made, first.factor)
    if first.divisor != 1:
        made = build.binary("FLOOR_DIV", made, first.divisor)
    return build.plus(made, first.added) if first.added else made


def _sizes(build: Builder, size: _Size, count: int) -> Tensor:
    """The sizes of so many axes of a tensor, from this one on."""
    return build.sizes(size.tensor, range(size.axis, size.axis + count))
