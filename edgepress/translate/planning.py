"""A whole network planned: constants are folded, then each node in turn; what cannot be taken is named."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import onnx

from edgepress.errors import UnsupportedModelError
from edgepress.graph.aside import release_files
from edgepress.graph.constants import fold_constants
from edgepress.graph.normalise.trials import Trial
from edgepress.graph.shapes import inferred_infos, sized_nodes
from edgepress.graph.strangers import are_strangers_allowed, called
from edgepress.graph.view import attributes, copy
from edgepress.translate.bodies import write_out
from edgepress.translate.grouping import find_group_norms
from edgepress.translate.layout import Layout, Order, channels_last
from edgepress.translate.ops.control import PLANNERS as CONTROL
from edgepress.translate.ops.custom import plan_custom
from edgepress.translate.ops.table import PLANNERS
from edgepress.translate.plan import Entry, Plan
from edgepress.translate.planner import Node, OpPlanner, Planner, RefusedNodeError, Value
from edgepress.translate.reading import inputs_of, name_nodes, tensor_shape


def make_plan(model: onnx.ModelProto) -> Plan:
    """Plan a network whose images (N, C, H, W), batch first, are stored with their channels last.

    Raises:
        UnsupportedModelError: nodes that have no translation; all are named at once.
    """
    return plan_graph(model)


def plan_graph(
    model: onnx.ModelProto, orders: Mapping[str, Order] | None = None, trial: Trial | None = None
) -> Plan:
    """Plan a network with any number of inputs and outputs; all else is as in `make_plan`.

    Args:
        model: normalised.
        orders: how axes of inputs and outputs are stored, by name. Else inputs are images, or sequences,
            whose channels are stored last, and outputs are images where they have four axes.
        trial: numbers for what the inputs leave open: the plan is then for these, but as it would be for
            others. What depends on them is computed as the network runs.
    """
    given = orders or {}
    folded = copy(model)
    name_nodes(folded)
    if trial:
        trial.set(folded)
    stay = sized_nodes(model) if trial else set[str]()
    fold_constants(folded, stay)
    write_out(folded, PLANNERS, stay)
    find_group_norms(folded)
    nodes = [_node(proto) for proto in folded.graph.node]
    planner = Planner(folded, given, trial is not None)
    if trial:
        planner.open_shapes = {name: tensor_shape(info) for name, info in inferred_infos(model).items()}
    planner.plan_nodes = partial(_plan_nodes, planners=PLANNERS)
    planner.write_out = partial(write_out, planned=PLANNERS)
    own = {tensor.name for tensor in model.graph.initializer}
    for name in planner.constants.keys() - own:
        planner.constants[name] = replace(planner.constants[name], initializer=None)
    entries = tuple(_entry(planner, name, given) for name in inputs_of(folded))
    _plan_nodes(nodes, planner, PLANNERS)
    outputs = [_output(planner, output.name) for output in folded.graph.output]
    stored, names = tuple(output.layout.order for output in outputs), tuple(output.name for output in outputs)
    release_files()
    own_names = tuple(output.name for output in folded.graph.output)
    return Plan(entries, names, stored, tuple(planner.steps), own_names)


def _entry(planner: Planner, name: str, orders: Mapping[str, Order]) -> Entry:
    shape, dtype = planner.shape(name), np.dtype(planner.dtype(name)).name
    if dtype == "uint64":
        raise UnsupportedModelError(
            f"input {name!r} is uint64, which TFLite has no kernels for; export it with int64 or int32"
        )
    layout = Layout(orders[name]) if name in orders else channels_last(len(shape))
    planner.values[name] = Value(name, shape, layout)
    stored = tuple(shape[axis] if axis == 0 else _size(shape[axis]) for axis in layout.order)
    return Entry(name, stored, layout.order, dtype)


def _size(size: int | None) -> int:
    return 1 if size is None else size


def _output(planner: Planner, name: str) -> Value:
    output = planner.value(name)
    node = Node("output", "output", (), (f"{output.name}.onnx",), {})
    return planner.stored_as(node, output, Layout(planner.outputs[name]))


def _plan_nodes(nodes: list[Node], planner: Planner, planners: Mapping[str, OpPlanner]) -> None:
    """Plan all nodes or name all that cannot be: behind one that cannot, others are still looked at."""
    refusals: list[RefusedNodeError] = []
    allowed = are_strangers_allowed()
    strangers = [] if allowed else [node for node in nodes if node.op not in planners]
    for node in nodes:
        if node.op not in planners and not allowed:
            planner.stand_in(node)
            continue
        try:
            _plan_node(node, planner, planners, allowed)
        except RefusedNodeError as refusal:
            refusals.append(refusal)
            planner.stand_in(node)
        except Exception:  # of no interest if it follows from what is refused
            if not refusals and not strangers:
                raise
            planner.stand_in(node)
    if told := [*_without_translation(strangers), *(refusal.what for refusal in refusals)]:
        more = f"; and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
        raise RefusedNodeError("; node ".join(told[:_TOLD]) + more)


def _plan_node(node: Node, planner: Planner, planners: Mapping[str, OpPlanner], allowed: bool) -> None:
    """Where custom operators are allowed, what has no translation becomes one."""
    if node.op not in planners:
        plan_custom(node, planner)
        return
    try:
        planners[node.op](node, planner)
    except RefusedNodeError:
        if not allowed or node.op in CONTROL:
            raise
        plan_custom(node, planner)


_TOLD = 8
"""So many nodes, and operators that have no translation, are named at most."""


def _without_translation(nodes: list[Node]) -> list[str]:
    """For each operator, the nodes that are of it: the first by name."""
    found: dict[str, list[str]] = {}
    for node in nodes:
        found.setdefault(node.op, []).append(node.name)
    return [
        f"{names[0]!r}{f' and {len(names) - 1} more' if len(names) > 1 else ''} ({op}): it has no translation"
        for op, names in found.items()
    ]


def _node(proto: onnx.NodeProto) -> Node:
    return Node(called(proto), proto.name, tuple(proto.input), tuple(proto.output), attributes(proto))
