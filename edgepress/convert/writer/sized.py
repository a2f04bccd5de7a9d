"""Steps whose sizes and places are computed as the network runs."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgepress.convert.writer.graph import Tensor
from edgepress.convert.writer.lowering import Lowering, Rule
from edgepress.translate.plan import Step


def _sizes(low: Lowering, step: Step) -> Tensor:
    """The sizes of the stored axes at these places."""
    a = step.attributes
    dtype = np.dtype(a.get("dtype", "int64")).name
    return low.build.cast(low.build.sizes(low.stored(step.inputs[0]), a["places"]), dtype)


def _elements(low: Lowering, step: Step) -> Tensor:
    x = low.stored(step.inputs[0])
    if not x.shape:
        return low.build.constant(1, "int64")
    sizes = low.build.sizes(x, range(len(x.shape)))
    return low.build.cast(low.build.reduce("REDUCE_PROD", sizes, (0,), keepdims=False), "int64")


def _vector(low: Lowering, step: Step) -> Tensor:
    """Numbers, and elements of the operands, as int32; what stands together is taken together."""
    build = low.build
    sources = [
        build.reshape(build.cast(low.number(name), "int32"), (low.number(name).size,)) for name in step.inputs
    ]
    pieces: list[Tensor] = []
    for run in _runs(step.attributes["parts"]):
        first = run[0]
        if isinstance(first, int):
            pieces.append(build.integers(run))
            continue
        source, start = sources[first[0]], first[1]
        whole = (start, len(run)) == (0, source.size)
        pieces.append(source if whole else build.strided(source, [start], [start + len(run)], [1]))
    return build.concat(pieces, 0)


def _runs(parts: Sequence[Any]) -> list[list[Any]]:
    """Numbers side by side, and elements of one vector that follow each other."""
    runs: list[list[Any]] = []
    for part in parts:
        last = runs[-1][-1] if runs else None
        if isinstance(part, int):
            joins = isinstance(last, int)
        else:
            joins = isinstance(last, tuple) and last == (part[0], part[1] - 1)
        if joins:
            runs[-1].append(part)
        else:
            runs.append([part])
    return runs


Sized = Callable[[Lowering, Step, Tensor], Tensor]


def _rule(add: Sized) -> Rule:
    """A move is the same of numbers and of codes."""

    def integers(low: Lowering, step: Step) -> Tensor | None:
        x = low.code(step.inputs[0])
        return None if x is None else add(low, step, x)

    return Rule(lambda low, step: add(low, step, low.number(step.inputs[0])), integers, commutes=True)


def _cut(low: Lowering, step: Step, x: Tensor) -> Tensor:
    a, (begin, end) = step.attributes, map(low.number, step.inputs[1:])
    mask = sum(1 << axis for axis, whole in enumerate(a["whole"]) if whole)
    operands = [x, begin, end, low.build.integers(a["strides"])]
    options = {"begin_mask": mask, "end_mask": mask}
    return low.build.add("STRIDED_SLICE", operands, a["shape"], x.dtype, x.codes, **options)


def _of_two(kind: str) -> Sized:
    def add(low: Lowering, step: Step, x: Tensor) -> Tensor:
        operands = [x, low.number(step.inputs[1])]
        return low.build.add(kind, operands, step.attributes["shape"], x.dtype, x.codes)

    return add


def _expanded(low: Lowering, step: Step, x: Tensor) -> Tensor:
    """Where a size of 1 is asked for, the operand's own stays."""
    build = low.build
    own = build.sizes(x, range(len(x.shape)))
    sizes = build.binary("MAXIMUM", low.number(step.inputs[1]), own)
    return build.add("BROADCAST_TO", [x, sizes], step.attributes["shape"], x.dtype, x.codes)


def _padded(low: Lowering, step: Step) -> Tensor:
    build, x = low.build, low.number(step.inputs[0])
    pads = build.reshape(low.number(step.inputs[1]), (len(x.shape), 2))
    shape = step.attributes["shape"]
    if len(step.inputs) < 3:
        return build.add("PAD", [x, pads], shape, x.dtype)
    fill = build.reshape(low.number(step.inputs[2]), ())
    return build.add("PADV2", [x, pads, fill], shape, x.dtype)


def _range(low: Lowering, step: Step) -> Tensor:
    """Of int16, which RANGE has not, in int32."""
    build = low.build
    ends = [build.reshape(low.number(name), ()) for name in step.inputs]
    dtype = ends[0].dtype
    wide = dtype if dtype in ("int32", "int64", "float32") else "int32"
    made = build.add("RANGE", [build.cast(end, wide) for end in ends], step.attributes["shape"], wide)
    return build.cast(made, dtype)


def _full(low: Lowering, step: Step) -> Tensor:
    build, value = low.build, low.operand(step.weights["value"])
    sizes = build.cast(low.number(step.inputs[0]), "int32")
    return build.add("FILL", [sizes, value], step.attributes["shape"], value.dtype)


RULES = {
    "sizes": Rule(_sizes),
    "elements": Rule(_elements),
    "vector": Rule(_vector),
    "cut_anywhere": _rule(_cut),
    "expanded": _rule(_expanded),
    "tiled": _rule(_of_two("TILE")),
    "reshaped": _rule(_of_two("RESHAPE")),
    "padded": Rule(_padded),
    "range": Rule(_range),
    "full": Rule(_full),
}
