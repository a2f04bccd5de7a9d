"""Operators over more axes than their kernels take: neighbouring axes are one, between reshapes.

Of LiteRT 2.3, XNNPACK accepts operators of more than six axes, which LiteRT's own kernels would run, and then
fails; LiteRT's BATCH_MATMUL takes five. Nothing takes more than eight but what has one operand.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.convert.writer.graph import Codes, Graph, Operator, Tensor
from edgepress.translate.planner import RefusedNodeError

if TYPE_CHECKING:
    from edgepress.convert.writer.builder import Builder


Kind = tuple[str, str, Codes | None, Mapping[str, Any]]
"""The operator, the type and the codes of its result, and its options."""

MOST = 6
"""Axes that XNNPACK takes."""


def in_fewer_axes(
    build: "Builder", kind: Kind, inputs: Sequence[Tensor | None], shape: Sequence[int]
) -> Tensor | None:
    """What the operator makes of tensors of too many axes; None where it takes them as they are."""
    limit, rule = _RULES.get(kind[0], (MOST, None))
    given = [x for x in inputs if x is not None]
    if (
        rule is None
        or max(len(shape), *(len(x.shape) for x in given)) <= limit
        or any(x.ragged for x in given)
    ):
        return None
    return build.reshape(rule(build, kind, given, shape), shape)


def _reduced(build: "Builder", kind: Kind, inputs: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
    """Axes that are reduced, or kept, side by side are one; of too many such, the kept ones come first."""
    (x, axes), (name, dtype, codes, _) = inputs, kind
    assert axes.values is not None
    reduced = {int(axis) % len(x.shape) for axis in axes.values.reshape(-1)}
    parts = list[tuple[bool, int]]()
    for axis, size in enumerate(x.shape):
        if parts and (parts[-1][0] == (axis in reduced) or (size == 1 and not build.any_size)):
            parts[-1] = (parts[-1][0], parts[-1][1] * size)
        else:
            parts.append((axis in reduced, size))
    joined = build.reshape(x, [size for _, size in parts])
    if len(parts) > MOST:
        order = sorted(range(len(parts)), key=lambda place: parts[place][0])
        kept = int(np.prod([size for is_reduced, size in parts if not is_reduced]))
        joined = build.reshape(build.transpose(joined, order), (kept, -1))
        parts = [(False, kept), (True, joined.shape[1])]
    places = [place for place, (is_reduced, _) in enumerate(parts) if is_reduced]
    left = [size for is_reduced, size in parts if not is_reduced]
    return build.add(name, [joined, build.integers(places)], left, dtype, codes, keep_dims=False)


def _concatenated(build: "Builder", kind: Kind, inputs: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
    name, dtype, codes, options = kind
    axis = options["axis"] % len(shape)
    before, behind = (int(np.prod(part)) for part in (shape[:axis], shape[axis + 1 :]))
    parts = [build.reshape(x, (before, x.shape[axis], behind)) for x in inputs]
    return build.add(name, parts, (before, shape[axis], behind), dtype, codes, axis=1)


def _of_rows(build: "Builder", kind: Kind, inputs: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
    """What is done to each row of the last axis."""
    (x, *operands), (name, dtype, codes, options) = inputs, kind
    rows = int(np.prod(shape[:-1]))
    options = {key: value for key, value in options.items() if key != "keep_num_dims"}
    joined = build.reshape(x, (rows, x.shape[-1]))
    return build.add(name, [joined, *operands], (rows, shape[-1]), dtype, codes, **options)


def _products(build: "Builder", kind: Kind, inputs: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
    name, dtype, codes, options = kind
    joined = list[Tensor]()
    for x in inputs:
        alone = int(np.prod(x.shape[:-2])) == 1 and not build.any_size
        whole = x if alone else build.broadcast(x, (*shape[:-2], *x.shape[-2:]))
        joined.append(build.reshape(whole, (-1, *x.shape[-2:])))
    return build.add(name, joined, (int(np.prod(shape[:-2])), *shape[-2:]), dtype, codes, **options)


_Rule = Callable[["Builder", Kind, Sequence[Tensor], Sequence[int]], Tensor]
_RULES: dict[str, tuple[int, _Rule]] = {
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"), (MOST, _reduced)),
    "CONCATENATION": (MOST, _concatenated),
    **dict.fromkeys(("SOFTMAX", "FULLY_CONNECTED"), (MOST, _of_rows)),
    "BATCH_MATMUL": (5, _products),
}

_MOST_AT_ALL = 8
_OF_ANY_NUMBER = ("CUSTOM", "GATHER", "SHAPE", "SLICE", "STRIDED_SLICE")


def refuse_too_many_axes(graph: Graph) -> None:
    """Make sure that LiteRT can run each operator; it ends the program at a sum over nine axes.

    Raises:
        RefusedNodeError: an operator reads or makes more axes than its kernel takes.
    """
    for each in graph.whole():
        for operator in each.operators:
            if (axes := _axes(operator)) > _MOST_AT_ALL:
                what = f"{next(iter(operator.nodes), '')!r}: it needs a {operator.kind} over {axes} axes"
                raise RefusedNodeError(f"{what}, and LiteRT's takes {_MOST_AT_ALL}")


def _axes(operator: Operator) -> int:
    """The axes that count for the kernel, 0 where it takes any number."""
    moves = operator.kind in ("RESHAPE", "TRANSPOSE")
    if operator.graphs or operator.kind in _OF_ANY_NUMBER or (len(operator.inputs) < 2 and not moves):
        return 0
    read = [] if operator.kind == "RESHAPE" else [x for x in operator.inputs if x is not None]
    return max((len(x.shape) for x in (*read, *operator.outputs)), default=0)
