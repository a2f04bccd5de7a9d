"""Graphs within a node, such as branches and the bodies of loops, planned as networks of their own.

What such a graph reads from around it becomes a further input where it is computed, and a constant of its own
where it is constant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import onnx

from edgepress.graph.constants import fold_constants
from edgepress.graph.nested import Given, as_model, tell_loop_shapes
from edgepress.graph.normalise.branches import settle
from edgepress.graph.strangers import called
from edgepress.graph.view import attributes, outer_names, set_initializer
from edgepress.translate.grouping import find_group_norms
from edgepress.translate.layout import Layout, Order, plain
from edgepress.translate.plan import Entry, Plan, Step
from edgepress.translate.planner import Node, Planner, Value, unsupported
from edgepress.translate.reading import Shape, name_nodes


class Inner:
    """A graph within a node: first opened, then given its inputs, and then planned."""

    def __init__(
        self, graph: onnx.GraphProto, node: Node, outer: Planner, given: Mapping[str, Given] | None = None
    ) -> None:
        """`given` are the graph's own inputs; what it reads from around it and is computed is `captured`."""
        self._node, self._outer = node, outer
        read = [name for name in outer_names(graph) if name in outer.constants or name in outer.values]
        self.captured = [name for name in read if name not in outer.constants]
        known = {name: Given(outer.elem_type(name), outer.values[name].shape) for name in self.captured}
        model = as_model(graph, outer.opset_import, {**(given or {}), **known})
        for name in read:
            if name in outer.constants:
                set_initializer(model, name, outer.constants[name].values)
        self.outputs = [output.name for output in model.graph.output]
        name_nodes(model)
        tell_loop_shapes(model)
        fold_constants(model)
        while settle(model):
            fold_constants(model)
        find_group_norms(model)
        outer.write_out(model)
        self.model = model
        self.planner = Planner(model, {}, outer.any_size)
        self.planner.plan_nodes, self.planner.write_out = outer.plan_nodes, outer.write_out
        constants = self.planner.constants
        for name in constants:
            constants[name] = outer.constants.get(name) or replace(constants[name], initializer=None)
        self.entries: list[Entry] = []

    def enter(self, name: str, order: Order, shape: Shape, dtype: str) -> Entry:
        """Let the graph know this input, whose axes are stored in this order."""
        self.planner.values[name] = Value(name, shape, Layout(order))
        stored = tuple(shape[axis] for axis in order)
        return Entry(name, stored, order, dtype)

    def plan(self) -> None:
        """Plan its nodes; all inputs have been given by then."""
        nodes = [
            Node(called(proto), proto.name, tuple(proto.input), tuple(proto.output), attributes(proto))
            for proto in self.model.graph.node
        ]
        self.planner.plan_nodes(nodes, self.planner)

    def value(self, name: str) -> Value:
        """What a tensor of the graph is, not flattened."""
        return whole(self._node, self.planner, self.planner.value(name))

    def stored_as(self, value: Value, order: Order) -> Value:
        """A tensor of the graph with its axes stored in an order."""
        node = Node("output", "output", (), (f"{value.name}.onnx",), {})
        return self.planner.stored_as(node, value, Layout(order))

    def add(self, step: Step) -> None:
        """A further step, behind all others so far."""
        self.planner.steps.append(step)

    def finished(self, outputs: Sequence[str], orders: Sequence[Order]) -> Plan:
        """The plan, which gives these tensors."""
        return Plan(tuple(self.entries), tuple(outputs), tuple(orders), tuple(self.planner.steps))


def whole(node: Node, planner: Planner, value: Value) -> Value:
    """A tensor as one that is not flattened, which is known within a node alone."""
    flat = value.layout.flattened is not None
    return planner.stored_as(node, value, plain(len(value.shape))) if flat else value


def captured_from(planner: Planner, node: Node, inner: Inner) -> None:
    """Let a graph have what it reads from around it, stored as it is there.

    Raises:
        UnsupportedModelError: one of these is no tensor.
    """
    for name in inner.captured:
        value = whole(node, planner, planner.values[name])
        if not planner.elem_type(name):
            raise unsupported(node, f"it reads {name}, which is no tensor")
        inner.entries.append(inner.enter(name, value.layout.order, value.shape, planner.dtype_name(name)))
