"""Elements at computed places, read and written, and what a mask picks: written out in simpler operators."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgepress.translate.planner import OpPlanner
from edgepress.translate.written_out import Sketch, Term, written

MOST_PAIRS = 1 << 22
"""So many pairs of elements are compared at most."""

_NEUTRAL = {"mul": ("Mul", "ReduceProd"), "max": ("Max", "ReduceMax"), "min": ("Min", "ReduceMin")}


def element_places(s: Sketch, shape: Sequence[int], places: Term, sizes: Sequence[int], axis: int) -> Term:
    """For each element of `places` along an axis the number of the element in a tensor of `shape`."""
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    grid = np.zeros(sizes, np.int32)
    for i in range(len(shape)):
        if i != axis:
            counting = np.arange(sizes[i], dtype=np.int32) * strides[i]
            grid = grid + counting.reshape([-1 if j == i else 1 for j in range(len(shape))]).astype(np.int32)
    return s.wrapped(places, shape[axis]) * strides[axis] + s.constant(grid)


def _gather_elements(s: Sketch) -> Term:
    shape, sizes = s.sizes(0), s.sizes(1)
    places = element_places(s, shape, s.operand(1), sizes, s.axis(len(shape)))
    return s.operand(0).reshape(-1).take(places)


def _scatter_elements(s: Sketch) -> Term:
    """Places along one axis: those of other lines are never the same."""
    shape, sizes = s.sizes(0), s.sizes(1)
    axis = s.axis(len(shape))
    places = element_places(s, shape, s.operand(1), sizes, axis).reshape(-1)
    count, known = math.prod(sizes), s.known(1)
    once = sizes[axis] == 1
    if known is not None:
        ordered = np.sort(np.where(known < 0, known + shape[axis], known), axis)
        once = bool((np.diff(ordered, axis=axis) != 0).all())
    return _scattered(s, places, count, math.prod(shape), 1, once).reshape(*shape)


def _scatter_nd(s: Sketch) -> Term:
    """Parts at the coordinates of their first axes."""
    shape, depth, sizes = s.sizes(0), s.size(1, -1), s.planner.shape(s.node.inputs[1])
    known = [size for size in sizes[:-1] if size is not None]
    count = math.prod(known) if len(known) == len(sizes) - 1 else -1
    rows, inner = math.prod(shape[:depth]), math.prod(shape[depth:])
    coordinates, total = s.operand(1).reshape(count, depth), None
    for axis in range(depth):
        own = s.wrapped(coordinates.cut(1, axis, axis + 1), shape[axis]).reshape(count)
        own = own * math.prod(shape[axis + 1 : depth])
        total = own if total is None else total + own
    assert total is not None
    return _scattered(s, total, count, rows, inner, _are_different(s, shape[:depth])).reshape(*shape)


def _are_different(s: Sketch, shape: Sequence[int]) -> bool:
    """Whether no coordinates are there twice: they are constants, or those at which a mask holds."""
    if (known := s.known(1)) is not None:
        rows = known.reshape(-1, len(shape))
        return len(np.unique(np.where(rows < 0, rows + np.array(shape), rows), axis=0)) == len(rows)
    makers = {step.output: step for step in s.planner.steps}
    step = makers.get(s.planner.value(s.node.inputs[1]).name)
    while step is not None and step.op in ("transpose", "reshape", "cast", "identity"):
        step = makers.get(step.inputs[0])
    return step is not None and step.op == "places"


def _scattered(s: Sketch, places: Term, count: int, rows: int, inner: int, once: bool) -> Term:
    """The node's first operand, seen as rows, with its third put, added… into the rows at these places.

    How many these are may be open: `count` is then −1. `once` tells that no place is among them twice.
    """
    data, new = s.operand(0).reshape(rows, inner), s.operand(2).reshape(count, inner)
    kind = s.attribute("reduction", "none")
    if kind in _NEUTRAL:
        return _merged(s, kind, places, (count, rows, inner))
    if kind != "add":
        return put_at(s, places, new, data, (count, rows, inner), once)
    wide = "int32" if data.dtype == "bool" else data.dtype
    return data + sum_at(s, places.reshape(count, 1), new.cast(wide), (rows, inner))


def put_at(
    s: Sketch, places: Term, new: Term, data: Term, sizes: tuple[int, int, int], once: bool = False
) -> Term:
    """Rows of `data` in whose places stand new ones; of several for one place the last, as in ONNX Runtime.

    Args:
        s: what they are written in.
        places: (count,), from 0 on.
        new: (count, inner).
        data: (rows, inner).
        sizes: count, which is −1 where it is open, rows and inner.
        once: no place is there twice.
    """
    count, rows, inner = sizes
    behind = 0
    if not once and count != 1:
        places, new, behind = *_last_ones(s, places, new, count, rows), 1
    flat = places.reshape(count, 1)
    total = sum_at(s, flat, new.cast("int32" if new.dtype == "bool" else new.dtype), (rows + behind, inner))
    ones = s.constant(np.ones((count, 1), np.int32)) if count > 0 else flat * 0 + 1
    hit = sum_at(s, flat, ones, (rows + behind, 1)) > 0
    if behind:
        total, hit = (each.cut(0, 0, rows) for each in (total, hit))
    return s.where(hit, total.cast(data.dtype), data)


def _last_ones(s: Sketch, places: Term, new: Term, count: int, rows: int) -> tuple[Term, Term]:
    """The same, but all for one place except the last are for a row behind all others.

    LiteRT adds up what is for one place. So they are put in order, those for one place side by side.
    """
    wide = "int32" if count > 0 and (rows + 1) * count < 2**31 else "int64"
    places = places.cast(wide)
    every: Any = count if count > 0 else s("Shape", places).cast(wide)
    number = s.constant(np.arange(count).astype(wide)) if count > 0 else _counted(s, places)
    size = np.array([count]) if count > 0 else s("Shape", places)
    _, order = s.several("TopK", 2, places * every + number, size)
    sorted_places = places.take(order)
    first = s.constant(np.full(1, -1, wide))
    before = s.concat([first, sorted_places], 0)
    before = before.cut(0, 0, count) if count > 0 else before.cut(0, 0, -1)
    again = sorted_places.equals(before)
    return s.where(again, rows, sorted_places).cast("int32"), new.take(order)


def _counted(s: Sketch, places: Term) -> Term:
    return s("CumSum", places * 0 + 1, np.array(0))


def sum_at(s: Sketch, places: Term, parts: Term, shape: tuple[int, ...]) -> Term:
    """Parts added to zeros at places (…, coordinates)."""
    made = s("SumAt", places.cast("int32"), parts, shape=list(shape))
    return s.declared(made, shape, parts.dtype)


def _merged(s: Sketch, kind: str, places: Term, sizes: tuple[int, int, int]) -> Term:
    """Each place is compared with each row: what is written to one is multiplied, or the best wins."""
    count, rows, inner = sizes
    if count < 0:
        raise s.refuse(f"how many parts it writes is open, with reduction {kind!r}")
    if math.prod(sizes) > MOST_PAIRS:
        raise s.refuse(
            f"reduction {kind!r} of {count} parts into {rows} rows of {inner} takes too much memory"
        )
    combine, reduce = _NEUTRAL[kind]
    data, new = s.operand(0).reshape(rows, inner), s.operand(2).reshape(1, count, inner)
    hit = places.reshape(1, count, 1).equals(s.constant(np.arange(rows, dtype=np.int32).reshape(rows, 1, 1)))
    chosen = s.where(hit, new, _neutral(kind, data.dtype))
    return s(combine, data, chosen.reduce(reduce, 1))


def _neutral(kind: str, dtype: str) -> float | int:
    if kind == "mul":
        return 1
    limits = np.finfo(dtype) if dtype.startswith("float") else np.iinfo(dtype)
    own = limits.min if kind == "max" else limits.max
    return float(own) if dtype.startswith("float") else int(own)


def picked(s: Sketch, x: Term, mask: Term, axis: int = 0) -> Term:
    """The elements of an axis where a mask of one axis holds."""
    return x.take(s("NonZero", mask).reshape(-1), axis)


def _compress(s: Sketch) -> Term:
    """Of all elements where no axis is given."""
    if "axis" not in s.node.attributes:
        return picked(s, s.operand(0).reshape(-1), s.operand(1))
    return picked(s, s.operand(0), s.operand(1), s.axis(len(s.planner.shape(s.node.inputs[0]))))


# Unique


def _unique(s: Sketch) -> list[Term]:
    """Each element, or part of an axis, once: every one is compared with every other."""
    shape = s.sizes(0)
    flat = "axis" not in s.node.attributes
    axis = 0 if flat else s.axis(len(shape))
    x = s.operand(0).reshape(-1) if flat else s.operand(0)
    count = math.prod(shape) if flat else shape[axis]
    others = [i for i in range(len(shape)) if i != axis]
    rows = x.reshape(count, 1) if flat else x.transpose(axis, *others).reshape(count, -1)
    width = 1 if flat else math.prod(shape[i] for i in others)
    if count * count * width > MOST_PAIRS:
        raise s.refuse(f"it compares {count} parts of {width} elements with each other, which are too many")
    same, below = _compared(s, rows, count, width)
    numbers = np.arange(count, dtype=np.int32)
    first = s.where(same, s.constant(np.broadcast_to(numbers, (count, count))), count).reduce("ReduceMin", 1)
    own = s.constant(numbers)
    is_first = first.equals(own)
    if not s.attribute("sorted", 1):
        below = own.reshape(1, count) < first.reshape(count, 1)
    place = (below & is_first.reshape(1, count)).cast("int32").sum(1)
    slots, order = s.several("TopK", 2, s.where(is_first, place, count), np.array([count]), largest=0)
    kept = picked(s, order, slots < count)
    many = same.cast("int32").sum(1).cast("int64")
    return [x.take(kept, axis), kept, place.cast("int64"), many.take(kept)]


def _compared(s: Sketch, rows: Term, count: int, width: int) -> tuple[Term, Term]:
    """For rows i and j: whether j is the same as i, and whether it comes before it in order."""
    one, other = rows.reshape(count, 1, width), rows.reshape(1, count, width)
    equal, less = one.equals(other), other < one
    if width == 1:
        return equal.reshape(count, count), less.reshape(count, count)
    unlike = s("Not", equal).cast("float32")
    before = np.triu(np.ones((width, width), np.float32), 1)
    leading = s("MatMul", unlike.reshape(count * count, width), before).reshape(count, count, width) < 0.5
    decided = (less & leading).cast("int32").reduce("ReduceMax", 2) > 0
    return unlike.reduce("ReduceMax", 2) < 0.5, decided


# Triangles and diagonals


def _trilu(s: Sketch) -> Term:
    """What lies above or below a diagonal of the last two axes; the rest becomes 0."""
    rows, columns, x = s.size(0, -2), s.size(0, -1), s.operand(0)
    ahead = np.arange(columns)[None] - np.arange(rows)[:, None]
    upper = bool(s.attribute("upper", 1))
    if s.has(1) and s.known(1) is None:
        diagonal, places = s.operand(1).cast("int32").reshape(), s.constant(ahead.astype(np.int32))
        kept = places >= diagonal if upper else places <= diagonal
    else:
        given = s.known(1)
        number = 0 if given is None else int(given.item())
        kept = s.constant(ahead >= number if upper else ahead <= number)
    return s.where(kept, x, s.constant(np.zeros((), x.dtype)))


def _eye_like(s: Sketch) -> Term:
    rows, columns = s.sizes(0)
    values = np.eye(rows, columns, s.attribute("k", 0), dtype=s.planner.dtype(s.node.outputs[0]))
    return s.constant(values)


PLANNERS: dict[str, OpPlanner] = {
    "GatherElements": written(_gather_elements),
    **dict.fromkeys(("ScatterElements", "Scatter"), written(_scatter_elements)),
    "ScatterND": written(_scatter_nd),
    "Compress": written(_compress),
    "Unique": written(_unique),
    "Trilu": written(_trilu),
    "EyeLike": written(_eye_like),
}
