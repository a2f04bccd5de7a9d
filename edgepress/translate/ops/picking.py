"""Operators that pick elements by their value or by computed places, and have a kernel of their own."""

from typing import Any

import numpy as np

from edgepress.translate.layout import Layout, plain
from edgepress.translate.ops.broadcast import ranked
from edgepress.translate.ops.sizes import is_computed
from edgepress.translate.planner import Node, OpPlanner, Planner, Value
from edgepress.translate.reading import Shape
from edgepress.translate.written_out import Sketch, Term, written


def plain_value(node: Node, planner: Planner, index: int) -> Value:
    """An operand stored in ONNX's order."""
    value = planner.value(node.inputs[index])
    return planner.stored_as(node, value, plain(len(value.shape)))


def plan_top_k(node: Node, planner: Planner) -> None:
    """The k largest or smallest elements of an axis, in their order, and their places.

    k is an attribute up to opset 9, and an input, which may be computed, from 10.
    """
    value = ranked(node, planner, planner.value(node.inputs[0]))
    axis = node.attributes.get("axis", -1) % len(value.shape)
    layout = Layout((*(one for one in value.layout.order if one != axis), axis))
    value = planner.stored_as(node, value, layout)
    operands: tuple[Value, ...] = (value,)
    count = node.attributes.get("k")
    if is_computed(node, planner, 1):
        operands = (value, planner.value(node.inputs[1]))
    elif node.has_input(1):
        (count,) = planner.integers(node, 1)
    largest = bool(node.attributes.get("largest", 1))
    planner.emit_several(node, "top_k", operands, [layout, layout], count=count, largest=largest)


def _one_hot(s: Sketch) -> Term:
    """Places below 0 count from the end; those outside are off everywhere."""
    shape, known, values = s.planner.shape(s.node.inputs[0]), s.known(1), s.operand(2)
    places, axis = s.operand(0), s.attribute("axis", -1) % (len(shape) + 1)
    if places.dtype != "int64":
        places = places.cast("int32")
    depth = s.operand(1).reshape().cast(places.dtype)
    places = s.where(places < 0, places + depth, places)
    off, on = (values.cut(0, place, place + 1).reshape() for place in (0, 1))
    made = s("HotPlaces", places, depth.cast("int32"), on, off, axis=axis)
    size = None if known is None else int(known.item())
    return s.declared(made, (*shape[:axis], size, *shape[axis:]), values.dtype)


def plan_hot_places(node: Node, planner: Planner) -> None:
    """`on` at each place along a new axis, elsewhere `off`."""
    values = tuple(plain_value(node, planner, index) for index in range(4))
    layout = plain(len(values[0].shape) + 1)
    planner.emit(node, "one_hot", values, layout, axis=node.attributes["axis"])


def plan_non_zero(node: Node, planner: Planner) -> None:
    """The places of all elements but 0, as many as there are: an axis for each of the operand's."""
    value = plain_value(node, planner, 0)
    if not value.shape:
        value = planner.reshaped(node, value, (1,), "vector")
    turned = planner.emit(node, "places", (value,), Layout((1, 0)), minimum=0)
    assert turned.layout.order == (1, 0)


def plan_reverse_sequence(node: Node, planner: Planner) -> None:
    """The first elements of each sample's sequence backwards, as many as its length says."""
    a = node.attributes
    value = ranked(node, planner, planner.value(node.inputs[0]))
    lengths = plain_value(node, planner, 1)
    axes: dict[str, Any] = {"time": value.layout.position(a.get("time_axis", 0))}
    axes["batch"] = value.layout.position(a.get("batch_axis", 1))
    planner.emit(node, "reverse_sequence", (value, lengths), value.layout, **axes)


def _gather_nd(s: Sketch) -> Term:
    """Elements or parts by the coordinates of their first axes; those of batch axes are one's own."""
    shape, batch, count = s.sizes(0), s.attribute("batch_dims", 0), s.size(1, -1)
    places: Shape = s.sizes(1) if batch else s.planner.shape(s.node.inputs[1])
    own = [s.operand(1).cut(-1, axis, axis + 1) for axis in range(count)]
    columns = [s.wrapped(own[axis], shape[batch + axis]) for axis in range(count)]
    for axis in reversed(range(batch)):
        counting = np.arange(shape[axis], dtype=np.int32).reshape(
            [-1 if i == axis else 1 for i in range(len(places))]
        )
        columns.insert(0, s.constant(np.broadcast_to(counting, [*map(int, s.sizes(1)[:-1]), 1])))
    made = s("PartsAt", s.operand(0), s.concat(columns, len(places) - 1))
    return s.declared(made, (*places[:-1], *shape[batch + count :]), s.operand(0).dtype)


def plan_parts_at(node: Node, planner: Planner) -> None:
    """Parts of a tensor by the coordinates, from 0 on, of their first axes."""
    values = tuple(plain_value(node, planner, index) for index in range(2))
    planner.emit(node, "gather_nd", values, plain(len(planner.shape(node.outputs[0]))))


def plan_sum_at(node: Node, planner: Planner) -> None:
    """Parts added to zeros at the coordinates, from 0 on, of their first axes."""
    values = tuple(plain_value(node, planner, index) for index in range(2))
    shape = tuple(node.attributes["shape"])
    planner.emit(node, "scatter_nd", values, plain(len(shape)), shape=shape)


def plan_kept_boxes(node: Node, planner: Planner) -> None:
    """The places of the boxes that are kept, best first: boxes (n, 4), scores (n) and three numbers."""
    values = tuple(plain_value(node, planner, index) for index in range(5))
    planner.emit(node, "kept_boxes", values, plain(1), minimum=0)


_ALWAYS_BELOW = -3.0e38
_NEXT, _LEAST = 1 + 2.0**-23, 2.0**-100
"""TFLite leaves out boxes that overlap by the threshold, ONNX those that do by more."""


def _non_max_suppression(s: Sketch) -> Term:
    """For each sample and class the boxes that overlap no better one: triples of sample, class and box."""
    (samples, count, _), (_, classes, _) = s.sizes(0), s.sizes(1)
    boxes, scores = s.operand(0), s.operand(1)
    if s.attribute("center_point_box", 0):
        middle, half = boxes.cut(2, 0, 2), boxes.cut(2, 2, 4) * 0.5
        boxes = s.concat([middle - half, middle + half], 2)
    most = s.operand(2).reshape() if s.has(2) else s.constant(np.array(0, np.int64))
    most = s("Min", most, s.constant(np.array(count, np.int64))).cast("int32")
    overlap, least = (
        s.operand(index).reshape() if s.has(index) else s.constant(np.array(default, np.float32))
        for index, default in ((3, 0.0), (4, _ALWAYS_BELOW))
    )
    above = (overlap * _NEXT).clip(_LEAST, 1.0)
    triples = []
    for sample in range(samples):
        own = boxes.cut(0, sample, sample + 1).reshape(count, 4)
        for kind in range(classes):
            score = scores.cut(0, sample, sample + 1).cut(1, kind, kind + 1).reshape(count)
            kept = s.declared(s("KeptBoxes", own, score, most, above, least), (None,), "int64")
            row = s(
                "Pad", kept.unsqueeze(1), np.array([0, 2, 0, 0], np.int64), s.constant(np.array(0, np.int64))
            )
            triples.append(row + s.constant(np.array([[sample, kind, 0]], np.int64)))
    return s.concat(triples, 0)


PLANNERS: dict[str, OpPlanner] = {
    "TopK": plan_top_k,
    "OneHot": written(_one_hot),
    "HotPlaces": plan_hot_places,
    "NonZero": plan_non_zero,
    "ReverseSequence": plan_reverse_sequence,
    "GatherND": written(_gather_nd),
    "PartsAt": plan_parts_at,
    "SumAt": plan_sum_at,
    "KeptBoxes": plan_kept_boxes,
    "NonMaxSuppression": written(_non_max_suppression),
}
