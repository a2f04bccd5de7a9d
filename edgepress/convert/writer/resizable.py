"""One network for any size of what it leaves open, from the same network lowered for a few sizes.

A rule of the writer makes a network for given sizes, and need not know which of them are open. What differs
between the networks for several sizes is what follows from them: numbers in the operands that say shapes and
places. Each such number is found again among the sizes of the tensors that are there by then, and becomes −1,
where the operator can tell it itself, or is computed as the network runs (SHAPE).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgepress.convert.writer.builder import Builder
from edgepress.convert.writer.graph import Array, Graph, Operator, Tensor
from edgepress.convert.writer.grids import Sizes, pattern
from edgepress.convert.writer.terms import Known, Term, group, vector
from edgepress.errors import UnsupportedModelError

_FROM_OPERANDS = ("new_shape",)
"""Options that repeat an operand."""

_TO_THE_END = 2**31 - 1

_KERNELS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D", "CONV_3D_TRANSPOSE")
"""Operators whose weights have to be constants."""


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
    known, operators = Known(), list[Operator]()
    for number in range(len(first.inputs)):
        known.note([graph.inputs[number] for graph in graphs])
    for place, operator in enumerate(first.operators):
        same = [operator, *(graph.operators[place] for graph in others)]
        operators += _opened(same, known, computed)
        for field in operator.graphs:
            _open([each.graphs[field] for each in same], computed)
        operators.append(operator)
        for number, made in enumerate(operator.outputs):
            ends = [each.outputs[number] for each in same]
            known.note(ends)
            if operator.kind == "SLICE":  # LiteRT holds one without a signature to its size
                made.signature = _signature(ends)
    first.operators = operators


def _signature(ends: Sequence[Tensor]) -> tuple[int, ...] | None:
    """The shape with −1 where the networks have different sizes, or one has it; None for no open size."""
    shapes = zip(*(tensor.shape for tensor in ends), strict=True)
    known = next((tensor.signature for tensor in ends if tensor.signature), None) or ends[0].shape
    open_sizes = tuple(
        size if len(set(sizes)) == 1 else -1 for size, sizes in zip(known, shapes, strict=True)
    )
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
            place = next(iter(first.output_names), first.outputs[0].name)  # branches and bodies have no names
            raise NotResizableError(place, "how many operators it takes")


def _form(operator: Operator) -> tuple[Any, ...]:
    """What must be the same whatever the sizes are."""
    options = {key: value for key, value in operator.options.items() if key not in _FROM_OPERANDS}
    inputs = [None if tensor is None else (tensor.constant, tensor.dtype, len(tensor.shape))
              for tensor in operator.inputs]  # fmt: skip
    outputs = [(tensor.dtype, len(tensor.shape)) for tensor in operator.outputs]
    return operator.kind, sorted(options.items(), key=str), inputs, outputs


def _opened(same: Sequence[Operator], known: Known, computed: bool) -> list[Operator]:
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
    same: Sequence[Operator], place: int, known: Known, computed: bool
) -> tuple[Tensor, list[Operator]]:
    """The operand at this place for any sizes, and the operators that compute it."""
    first, node = same[0], "; ".join(same[0].nodes)
    operands = [each.inputs[place] for each in same]
    arrays = [operand.values for operand in operands if operand is not None and operand.values is not None]
    own = operands[0]
    assert own is not None
    if own.dtype not in ("int32", "int64") or len({array.shape for array in arrays}) > 1:
        return _patterned(same, place, arrays, known, computed)
    numbers = np.stack([array.reshape(-1) for array in arrays])
    plain = _told_by_the_operator(same, place, numbers)
    differing = [i for i in range(numbers.shape[1]) if plain[i] is None]
    if not differing:
        values = np.array(plain, own.dtype).reshape(own.shape)
        return Tensor(own.name, own.shape, own.dtype, None, values), []
    if not computed:
        raise NotResizableError(node, f"its operand {place} holds a size")
    parts: list[int | Term] = []
    for i, number in enumerate(plain):
        term = number if number is not None else known.term(tuple(numbers[:, i].tolist()), first)
        if term is None:
            raise NotResizableError(node, f"its operand {place} holds {numbers[0, i]}, {numbers[1, i]} …")
        parts.append(term)
    build = Builder()
    build.begin(first.nodes[0] if first.nodes else "")
    made = build.reshape(vector(build, parts), own.shape)
    return build.cast(made, own.dtype), build.operators


def _patterned(
    same: Sequence[Operator], place: int, arrays: Sequence[Array], known: Known, computed: bool
) -> tuple[Tensor, list[Operator]]:
    """An operand that grows with the sizes, from what its elements follow from."""
    first, node = same[0], "; ".join(same[0].nodes)
    own = arrays[0]
    coded = any(operator.inputs[place].codes is not None for operator in same)  # type: ignore[union-attr]
    found = pattern(arrays) if computed and first.kind not in _KERNELS and not coded else None
    build = Builder()
    build.begin(first.nodes[0] if first.nodes else "")

    def number(wanted: Sizes) -> Tensor:
        if len(set(wanted)) == 1:
            return build.integers([wanted[0]])
        if (term := known.term(wanted, first)) is None:
            raise NotResizableError(node, f"a constant of it follows from {wanted[0]}, {wanted[1]} …")
        return group(build, [term])

    if found is None:
        raise NotResizableError(node, f"it reads a constant of {own.dtype.name}, {own.shape}")
    return found.made(build, number, own), build.operators


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
