"""Control flow: If, Loop and Scan, whose branches and bodies are plans within the plan."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx

from edgepress.graph.nested import Given
from edgepress.translate.layout import Layout, plain
from edgepress.translate.looping import Loop, stated, without
from edgepress.translate.nested import Inner, captured_from, whole
from edgepress.translate.planner import Node, OpPlanner, Planner, Value, unsupported
from edgepress.translate.reading import Shape, tensor_shape
from edgepress.translate.wishes import NONE, nearest

_MOST_ROUNDS = 2**31 - 1
"""More rounds than that are as good as no limit, which is how exporters write one."""

_ATTEMPTS = 3


# If


def plan_if(node: Node, planner: Planner) -> None:
    """Both branches give what they make stored alike."""
    condition = planner.value(node.inputs[0])
    branches = [Inner(node.attributes[name], node, planner) for name in ("then_branch", "else_branch")]
    for inner in branches:
        captured_from(planner, node, inner)
        inner.plan()
    results = [_branch_results(node, planner, branches, place) for place in range(len(node.outputs))]
    entries = tuple({entry.name: entry for inner in branches for entry in inner.entries}.values())
    plans = []
    for number, inner in enumerate(branches):
        values = [inner.stored_as(found[number], found[number].layout.order) for found in results]
        orders = [value.layout.order for value in values]
        plans.append(replace(inner.finished([value.name for value in values], orders), entries=entries))
    operands = (condition, *(whole(node, planner, planner.values[entry.name]) for entry in entries))
    layouts = [found[0].layout for found in results]
    planner.emit_several(node, "if", operands, layouts, then=plans[0], otherwise=plans[1])


def _branch_results(node: Node, planner: Planner, branches: Sequence[Inner], place: int) -> list[Value]:
    """An output of both branches in one order: that of the one that computes it, or what readers wish."""
    found = [inner.value(inner.outputs[place]) for inner in branches]
    ranks = {len(value.layout.order) for value in found}
    if len(ranks) > 1:
        raise unsupported(node, f"its branches give tensors of {min(ranks)} and of {max(ranks)} axes")
    name = node.outputs[place]
    wish = planner.wishes.of(name) if name else NONE
    computed = [v for v, inner in zip(found, branches, strict=True) if v.name not in inner.planner.constants]
    order = (computed or found)[0].layout.order
    order = nearest(order, wish) if wish else order
    return [
        replace(inner.stored_as(value, order), layout=Layout(order))
        for value, inner in zip(found, branches, strict=True)
    ]


# Loop


def plan_loop(node: Node, planner: Planner) -> None:
    """Rounds as long as a condition holds and a number of them is not reached."""
    body = node.attributes["body"]
    round_number, condition, *carried = [entry.name for entry in body.input]
    initial = [whole(node, planner, planner.value(name)) for name in node.inputs[2 : 2 + len(carried)]]
    given = {
        round_number: Given(onnx.TensorProto.INT64, tensor_shape(body.input[0])),
        condition: Given(onnx.TensorProto.BOOL, tensor_shape(body.input[1])),
    }
    inner, shapes = _of_steady_shapes(node, planner, body, carried, initial, given)
    loop = Loop(node, planner, inner)
    early = _may_end_early(node, planner, inner, condition)
    loop.limit = _limit(node, planner, loop)
    if early:
        first = _initial_condition(node, planner)
        shape = given[condition].shape
        first = planner.reshaped(node, first, shape, "condition") if first.shape != shape else first
        loop.carry(condition, first, shape, inner.outputs[0], "bool", plain(len(shape)).order)
        loop.condition = condition
    else:
        inner.planner.constants[condition] = planner.literal(np.ones([1] * len(given[condition].shape), bool))
    loop.count_as(round_number, given[round_number].shape)
    for name, value, shape, made in zip(carried, initial, shapes, inner.outputs[1:], strict=False):
        dtype = planner.dtype_name(node.inputs[2 + carried.index(name)])
        loop.carry(name, value, shape, made, dtype, loop.order_of(name, value))
    loop.capture()
    inner.plan()
    trips = loop.limit if isinstance(loop.limit, int) and loop.limit and not early else None
    for place, made in enumerate(inner.outputs[1 + len(carried) :], len(carried)):
        loop.collect(made, _name(node.outputs, place), trips, 0)
    loop.emit(node.outputs)


def _of_steady_shapes(
    node: Node,
    planner: Planner,
    body: onnx.GraphProto,
    carried: Sequence[str],
    initial: Sequence[Value],
    given: dict[str, Given],
) -> tuple[Inner, list[Shape]]:
    """The body for shapes of what it carries that it keeps: sizes that it changes are open."""
    shapes = [value.shape for value in initial]
    for _ in range(_ATTEMPTS):
        own = {
            name: Given(planner.elem_type(node.inputs[2 + i]), shapes[i]) for i, name in enumerate(carried)
        }
        inner = Inner(body, node, planner, {**given, **own})
        made = [inner.planner.shape(name) for name in inner.outputs[1 : 1 + len(carried)]]
        if any(len(one) != len(other) for one, other in zip(made, shapes, strict=True)):
            raise unsupported(node, "its body gives another number of axes than it takes")
        kept = [
            tuple(size if size == other else None for size, other in zip(one, two, strict=True))
            for one, two in zip(shapes, made, strict=True)
        ]
        if kept == shapes:
            return inner, shapes
        shapes = kept
    raise unsupported(node, "the shapes of what its body carries do not settle")


def _may_end_early(node: Node, planner: Planner, inner: Inner, condition: str) -> bool:
    """Whether the body, or the first condition, may end the loop before its number of rounds."""
    first = node.inputs[1] if node.has_input(1) else ""
    always = not first or (first in planner.constants and bool(planner.constants[first].values.all()))
    made = inner.outputs[0]
    if made in inner.planner.constants:
        return not (always and bool(inner.planner.constants[made].values.all()))
    sources = {each.output[0]: each.input[0] for each in inner.model.graph.node if each.op_type == "Identity"}
    while made in sources:
        made = sources[made]
    return not (always and made == condition)


def _initial_condition(node: Node, planner: Planner) -> Value:
    return planner.value(node.inputs[1]) if node.has_input(1) else stated(planner, node, "go", np.array(True))


def _limit(node: Node, planner: Planner, loop: Loop) -> int | Value | None:
    name = node.inputs[0] if node.inputs else ""
    if not name:
        return None
    if name in planner.constants:
        rounds = int(planner.constants[name].values.item())
        return None if rounds >= _MOST_ROUNDS else max(rounds, 0)
    value = planner.value(name)
    short = planner.emit_helper(node, "cast", (value,), f"{value.name}.rounds", value, dtype="int32")
    return planner.reshaped(node, short, (), "number") if value.shape else short


# Scan


def plan_scan(node: Node, planner: Planner) -> None:
    """A round for each element of an axis of what is scanned."""
    a, body = node.attributes, node.attributes["body"]
    count = a["num_scan_inputs"]
    names = [entry.name for entry in body.input]
    states, scanned = names[: len(names) - count], names[len(names) - count :]
    values = [whole(node, planner, planner.value(name)) for name in node.inputs]
    initial, sources = values[: len(states)], values[len(states) :]
    axes = [
        axis % len(v.shape) for axis, v in zip(a.get("scan_input_axes", [0] * count), sources, strict=True)
    ]
    lengths = {value.shape[axis] for value, axis in zip(sources, axes, strict=True)}
    if len(lengths) > 1 or None in lengths:
        raise unsupported(
            node, f"it scans axes of the sizes {sorted(map(str, lengths))}; expected one that is known"
        )
    (trips,) = lengths
    assert trips is not None
    given = {}
    for name, value, source in zip(states, initial, node.inputs, strict=False):
        given[name] = Given(planner.elem_type(source), value.shape)
    for name, value, axis, source in zip(scanned, sources, axes, node.inputs[len(states) :], strict=True):
        given[name] = Given(planner.elem_type(source), without(value.shape, axis))
    inner = Inner(body, node, planner, given)
    loop = Loop(node, planner, inner, trips)
    for place, name in enumerate(states):
        dtype = planner.dtype_name(node.inputs[place])
        order = loop.order_of(name, initial[place])
        loop.carry(name, initial[place], initial[place].shape, inner.outputs[place], dtype, order)
    backwards = a.get("scan_input_directions", [0] * count)
    for place, name in enumerate(scanned):
        dtype = planner.dtype_name(node.inputs[len(states) + place])
        loop.scan(name, sources[place], axes[place], bool(backwards[place]), dtype)
    loop.capture()
    inner.plan()
    collected = inner.outputs[len(states) :]
    out_axes = a.get("scan_output_axes", [0] * len(collected))
    out_backwards = a.get("scan_output_directions", [0] * len(collected))
    for place, (made, axis, back) in enumerate(zip(collected, out_axes, out_backwards, strict=True)):
        loop.collect(made, _name(node.outputs, len(states) + place), trips, axis, bool(back))
    loop.emit(node.outputs)


def _name(outputs: Sequence[str], place: int) -> str:
    """An output's name; '' where it is left out, which the last ones may be."""
    return outputs[place] if place < len(outputs) else ""


PLANNERS: dict[str, OpPlanner] = {"If": plan_if, "Loop": plan_loop, "Scan": plan_scan}
