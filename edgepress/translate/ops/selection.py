"""Parts of a tensor, and borders around it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgepress.translate.layout import Layout, plain
from edgepress.translate.ops.broadcast import ranked
from edgepress.translate.ops.sizes import Part, elements, is_computed, result_sizes, vector
from edgepress.translate.plan import Array, Weight
from edgepress.translate.planner import Node, OpPlanner, Planner, Value, unsupported

_BORDERS = ("reflect", "edge", "wrap")


def plan_split(node: Node, planner: Planner) -> None:
    """Each part is cut out; the sizes are those of the outputs."""
    value = planner.as_wished(node, ranked(node, planner, planner.value(node.inputs[0])))
    axis, start = node.attributes.get("axis", 0) % len(value.shape), 0
    for index, name in enumerate(node.outputs):
        size = planner.shape(name)[axis]
        if size is None:
            raise unsupported(node, f"the size of its output {name} is not fixed")
        _emit_cut(node, planner, value, {axis: slice(start, start + size, 1)}, index)
        start += size


def plan_slice(node: Node, planner: Planner) -> None:
    """Spans are attributes up to opset 9 and inputs from 10; backwards ones are gathered."""
    value = planner.as_wished(node, ranked(node, planner, planner.value(node.inputs[0])))
    rank = len(value.shape)
    if any(is_computed(node, planner, index) for index in (1, 2)):
        _plan_computed_slice(node, planner, value)
        return
    starts, ends = (_given(node, planner, i, key, []) for i, key in ((1, "starts"), (2, "ends")))
    axes = [axis % rank for axis in _given(node, planner, 3, "axes", list(range(len(starts))))]
    steps = _given(node, planner, 4, "steps", [1] * len(starts))
    spans: dict[int, slice] = {}
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = value.shape[axis]
        if size is None:
            if (start, step) == (0, 1) and end >= 2**31 - 1:
                continue
            _plan_slice_anywhere(node, planner, value, (starts, ends, axes, steps))
            return
        first, last, step = slice(start, end, step).indices(size)
        if step < 0:
            indices = np.arange(first, last, step)
            value = gathered(node, planner, value, axis, indices, f"back{axis}")
        else:
            spans[axis] = slice(first, max(first, last), step)
    _emit_cut(node, planner, value, spans)


def _plan_computed_slice(node: Node, planner: Planner, value: Value) -> None:
    """Spans whose ends are known only as the network runs."""
    starts, ends = (elements(node, planner, index) for index in (1, 2))
    axes = planner.integers(node, 3) if node.has_input(3) else list(range(len(starts)))
    strides = planner.integers(node, 4) if node.has_input(4) else [1] * len(starts)
    _plan_slice_anywhere(node, planner, value, (starts, ends, axes, strides))


Spans = tuple[Sequence[Part], Sequence[Part], list[int], list[int]]
"""Starts, ends, axes and steps."""


def _plan_slice_anywhere(node: Node, planner: Planner, value: Value, spans: Spans) -> None:
    starts, ends, axes, strides = spans
    places = {axis % len(value.shape): place for place, axis in enumerate(axes)}
    order = value.layout.order
    begin, end = (
        vector(node, planner, [_clamped(part) for part in _in_order(parts, places, order)], name)
        for parts, name in ((starts, "begin"), (ends, "end"))
    )
    options: dict[str, Any] = {
        "strides": tuple(strides[places[axis]] if axis in places else 1 for axis in order),
        "whole": tuple(axis not in places for axis in order),
        "shape": result_sizes(planner, node, order),
    }
    planner.emit(node, "cut_anywhere", (value, begin, end), value.layout, minimum=value.minimum, **options)


def _in_order(parts: Sequence[Part], places: dict[int, int], order: tuple[int, ...]) -> list[Part]:
    """For each stored axis its part, or 0."""
    return [parts[places[axis]] if axis in places else 0 for axis in order]


def _clamped(part: Part) -> Part:
    """A number as an int32: what is beyond one is beyond any axis."""
    return max(min(part, 2**31 - 1), -(2**31) + 1) if isinstance(part, int) else part


def _given(node: Node, planner: Planner, index: int, key: str, default: list[int]) -> list[int]:
    if node.has_input(index):
        return planner.integers(node, index)
    return list(node.attributes.get(key, default))


def _emit_cut(node: Node, planner: Planner, value: Value, spans: dict[int, slice], index: int = 0) -> None:
    cuts = [spans.get(axis, slice(None, None, 1)) for axis in value.layout.order]
    begin, end, strides = (tuple(getattr(cut, part) for cut in cuts) for part in ("start", "stop", "step"))
    options: dict[str, Any] = {"begin": begin, "end": end, "strides": strides}
    planner.emit(node, "cut", (value,), value.layout, minimum=value.minimum, index=index, **options)


def plan_gather(node: Node, planner: Planner) -> None:
    """Elements of one axis."""
    if node.inputs[1] not in planner.constants:
        _plan_computed_gather(node, planner)
        return
    indices = planner.constant(node, 1).values
    value = ranked(node, planner, planner.value(node.inputs[0]))
    value = value if indices.size > 1 else planner.as_wished(node, value)
    axis = node.attributes.get("axis", 0) % len(value.shape)
    size = value.shape[axis]
    if size is None:
        raise unsupported(node, f"it picks from axis {axis}, whose size is open")
    indices = np.where(indices < 0, indices + size, indices).astype(np.int32)
    layout = _gathered_layout(value.layout, axis, indices.ndim)
    options = {"axis": value.layout.position(axis)}
    planner.emit(node, "gather", (value,), layout, {"indices": Weight(indices)}, value.minimum, **options)


def _plan_computed_gather(node: Node, planner: Planner) -> None:
    """Elements of one axis at computed places, of which those below 0 count from the end."""
    value, places = ranked(node, planner, planner.value(node.inputs[0])), planner.value(node.inputs[1])
    places = planner.stored_as(node, places, plain(len(places.shape)))
    axis = node.attributes.get("axis", 0) % len(value.shape)
    if places.minimum is None or places.minimum < 0:
        places = from_the_start(node, planner, places, value, axis)
    layout = _gathered_layout(value.layout, axis, len(places.shape))
    position = value.layout.position(axis)
    planner.emit(node, "gather", (value, places), layout, minimum=value.minimum, axis=position)


def from_the_start(node: Node, planner: Planner, places: Value, value: Value, axis: int) -> Value:
    """A helper step: computed places along an axis, counted from its start."""
    size, dtype = value.shape[axis], planner.dtype(node.inputs[1])
    if size is None or planner.any_size:
        own = replace(value, shape=(1,), layout=plain(1))
        position = (value.layout.position(axis),)
        sizes = planner.emit_helper(node, "sizes", (value,), "size", own, places=position, dtype=dtype)
        if not places.shape:
            sizes = planner.reshaped(node, sizes, (), "alone")  # a single place has no axis
        return planner.emit_helper(node, "floor_mod", (places, sizes), "places", replace(places, minimum=0))
    operand = {"operand": Weight(np.array(size, dtype))}
    kept = replace(places, minimum=0)
    return planner.emit_helper(node, "floor_mod", (places,), "places", kept, operand, constant_first=False)


def _gathered_layout(layout: Layout, axis: int, rank: int) -> Layout:
    """The axis gives way to `rank` axes where it was stored."""
    order: list[int] = []
    for one in layout.order:
        if one == axis:
            order.extend(range(axis, axis + rank))
        else:
            order.append(one if one < axis else one + rank - 1)
    return Layout(tuple(order))


def gathered(node: Node, planner: Planner, value: Value, axis: int, indices: Array, suffix: str) -> Value:
    """A helper step: the elements of one ONNX axis at these indices."""
    shape = (*value.shape[:axis], len(indices), *value.shape[axis + 1 :])
    like = Value(value.name, shape, value.layout, value.minimum)
    weights = {"indices": Weight(indices.astype(np.int32))}
    position = value.layout.position(axis)
    return planner.emit_helper(node, "gather", (value,), suffix, like, weights, axis=position)


def plan_pad(node: Node, planner: Planner) -> None:
    """Pads and value are attributes up to opset 10 and inputs from 11, axes from 18; negative pads crop."""
    value = ranked(node, planner, planner.value(node.inputs[0]))
    if any(is_computed(node, planner, index) for index in (1, 2)):
        _plan_computed_pad(node, planner, value)
        return
    pads, mode = _pads(node, planner, len(value.shape)), node.attributes.get("mode", "constant")
    if mode in _BORDERS:
        _plan_border(node, planner, value, pads, mode)
        return
    if mode != "constant":
        raise unsupported(node, f"mode {mode!r}; expected constant, {', '.join(_BORDERS)}")
    fill = planner.constant(node, 2).values.item() if node.has_input(2) else node.attributes.get("value", 0.0)
    if any(min(pair) < 0 for pair in pads):
        value = _cropped(node, planner, value, pads)
        pads = [(max(before, 0), max(after, 0)) for before, after in pads]
    stored = tuple(pads[axis] for axis in value.layout.order)
    minimum = None if value.minimum is None else min(value.minimum, fill)
    planner.emit(node, "pad", (value,), value.layout, minimum=minimum, pads=stored, fill=fill)


def _plan_computed_pad(node: Node, planner: Planner, value: Value) -> None:
    """With as much as is known only as the network runs, or with a number that is."""
    mode = node.attributes.get("mode", "constant")
    if mode != "constant":
        raise unsupported(node, f"its pads are computed, in mode {mode!r}; expected constant")
    rank, flat = len(value.shape), elements(node, planner, 1)
    axes = planner.integers(node, 3) if node.has_input(3) else list(range(rank))
    pads: dict[int, tuple[Part, Part]] = {
        axis % rank: (before, after)
        for axis, before, after in zip(axes, flat[: len(axes)], flat[len(axes) :], strict=True)
    }
    parts = [part for axis in value.layout.order for part in pads.get(axis, (0, 0))]
    fill = planner.value(node.inputs[2]) if node.has_input(2) else None
    operands = (value, vector(node, planner, parts, "pads"), *([] if fill is None else [fill]))
    shape = result_sizes(planner, node, value.layout.order)
    planner.emit(node, "padded", operands, value.layout, shape=shape)


def _cropped(node: Node, planner: Planner, value: Value, pads: list[tuple[int, int]]) -> Value:
    order = value.layout.order
    begin = tuple(max(-pads[axis][0], 0) for axis in order)
    end = tuple(min(pads[axis][1], 0) or None for axis in order)
    return planner.emit_between(
        node, "cut", value, "cropped", begin=begin, end=end, strides=(1,) * len(order)
    )


def _plan_border(node: Node, planner: Planner, value: Value, pads: list[tuple[int, int]], mode: str) -> None:
    """By TFLite's mirror where it has it, else by gathering each axis."""
    sizes = [value.shape[axis] for axis in range(len(pads))]
    small = all(size is None or max(pair) < size for size, pair in zip(sizes, pads, strict=True))
    if mode == "reflect" and small and min(map(min, pads)) >= 0:
        stored = tuple(pads[axis] for axis in value.layout.order)
        planner.emit(
            node, "mirrored", (value,), value.layout, minimum=value.minimum, pads=stored, mode="REFLECT"
        )
        return
    for axis, pair in enumerate(pads):
        if any(pair):
            indices = _border(node, value, axis, pair, mode)
            value = gathered(node, planner, value, axis, indices, f"border{axis}")
    planner.emit(node, "identity", (value,), value.layout, minimum=value.minimum)


def _border(node: Node, value: Value, axis: int, pair: tuple[int, int], mode: str) -> Array:
    size = value.shape[axis]
    if size is None:
        raise unsupported(node, f"it pads axis {axis}, whose size is open, in mode {mode!r}")
    places = np.arange(-pair[0], size + pair[1])
    if mode == "edge":
        return np.clip(places, 0, size - 1)
    if mode == "wrap" or size == 1:
        return places % size
    period = 2 * (size - 1)
    places = places % period
    return np.where(places < size, places, period - places)


def _pads(node: Node, planner: Planner, rank: int) -> list[tuple[int, int]]:
    """How much to add before and after each ONNX axis."""
    flat = planner.integers(node, 1) if node.has_input(1) else list(node.attributes["pads"])
    axes = planner.integers(node, 3) if node.has_input(3) else list(range(rank))
    pads = [(0, 0)] * rank
    for axis, before, after in zip(axes, flat[: len(axes)], flat[len(axes) :], strict=True):
        pads[axis % rank] = (before, after)
    return pads


PLANNERS: dict[str, OpPlanner] = {
    "Split": plan_split,
    "Slice": plan_slice,
    "Gather": plan_gather,
    "Pad": plan_pad,
}
