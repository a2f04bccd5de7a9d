"""Parts of a tensor, and borders around it."""

from typing import Any

import numpy as np

from edgepress.translate.layout import Layout
from edgepress.translate.ops.broadcast import ranked
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
    starts, ends = (_given(node, planner, i, key, []) for i, key in ((1, "starts"), (2, "ends")))
    axes = [axis % rank for axis in _given(node, planner, 3, "axes", list(range(len(starts))))]
    steps = _given(node, planner, 4, "steps", [1] * len(starts))
    spans: dict[int, slice] = {}
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = value.shape[axis]
        if size is None:
            if (start, step) == (0, 1) and end >= 2**31 - 1:
                continue
            raise unsupported(node, f"it cuts axis {axis}, whose size is open")
        first, last, step = slice(start, end, step).indices(size)
        if step < 0:
            indices = np.arange(first, last, step)
            value = gathered(node, planner, value, axis, indices, f"back{axis}")
        else:
            spans[axis] = slice(first, max(first, last), step)
    _emit_cut(node, planner, value, spans)


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
    """Elements of one axis at constant indices, or rows of a constant table at computed ones."""
    if node.inputs[1] not in planner.constants:
        raise unsupported(node, f"its indices ({node.inputs[1]}) are not a constant")
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
