"""Control flow of a known course, written out: a branch that is always taken, and short loops."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
from onnx import helper

from edgepress.graph.aside import values_of
from edgepress.graph.nested import trips_of
from edgepress.graph.normalise.folding import fold_constants
from edgepress.graph.view import attributes, nested_graphs, replace_nodes, set_initializer

MOST_NODES = 64
"""A loop is written out whose rounds come to so many nodes: LiteRT takes some microseconds for each round of
a WHILE, and no layout, fusion or quantisation reaches across its ends.
"""

_ROUNDS = 16


def fold_and_settle(model: onnx.ModelProto) -> None:
    """Fold constants, in place, and write out what then has but one course, until nothing changes."""
    fold_constants(model)
    for _ in range(_ROUNDS):
        if not settle(model):
            return
        fold_constants(model)


def settle(model: onnx.ModelProto) -> bool:
    """Write out, in place, each If of a constant condition and each short loop of a known number of rounds.

    Returns:
        Whether there was one.
    """
    constant = {tensor.name: tensor for tensor in model.graph.initializer}
    taken = _names(model.graph)
    nodes, changed = list[onnx.NodeProto](), False
    for node in model.graph.node:
        written = _written(model, node, constant, taken)
        changed |= written is not None
        nodes += [node] if written is None else written
    if changed:
        replace_nodes(model, nodes)
    return changed


def _written(
    model: onnx.ModelProto,
    node: onnx.NodeProto,
    constant: Mapping[str, onnx.TensorProto],
    taken: set[str],
) -> list[onnx.NodeProto] | None:
    """What stands for a node of a known course; None if it has none."""
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "If" and node.input[0] in constant:
        branch = "then_branch" if values_of(constant[node.input[0]]).all() else "else_branch"
        writer = _Writer(model, attributes(node)[branch], node, taken)
        return [*writer.round({}, ""), *_renamed(writer.ends, node.output)]
    if node.op_type == "Loop":
        trips = trips_of(node, constant)
        short = trips is not None and 0 < trips * len(attributes(node)["body"].node) <= MOST_NODES
        return _loop(model, node, trips, taken) if short and trips is not None else None
    return None


def _loop(model: onnx.ModelProto, node: onnx.NodeProto, trips: int, taken: set[str]) -> list[onnx.NodeProto]:
    """All rounds one after the other, and what they collect joined."""
    body = attributes(node)["body"]
    writer = _Writer(model, body, node, taken)
    inputs = [entry.name for entry in body.input]
    shapes = [[1] * len(entry.type.tensor_type.shape.dim) for entry in body.input]
    current, nodes = list(node.input[2:]), list[onnx.NodeProto]()
    axis = writer.held("axis", np.array([0], np.int64))
    go = writer.held("go", np.ones(shapes[1], bool))
    collected: list[list[str]] = []
    for number in range(trips):
        count = writer.held(f"round{number}", np.full(shapes[0], number, np.int64))
        nodes += writer.round(dict(zip(inputs, [count, go, *current], strict=True)), f".{number}")
        ends = writer.ends[1:]
        current, rows = ends[: len(current)], ends[len(current) :]
        collected.append([writer.fresh(f"{row}.row") for row in rows])
        nodes += [
            helper.make_node("Unsqueeze", [row, axis], [made], made)
            for row, made in zip(rows, collected[-1], strict=True)
        ]
    nodes += _renamed(current, node.output[: len(current)])
    for name, *parts in zip(node.output[len(current) :], *collected, strict=False):
        if name:
            nodes.append(helper.make_node("Concat", parts, [name], name, axis=0))
    return nodes


class _Writer:
    """A graph within a node, written out beside it, any number of times; `ends` are its latest outputs."""

    def __init__(
        self, model: onnx.ModelProto, graph: onnx.GraphProto, node: onnx.NodeProto, taken: set[str]
    ) -> None:
        self._model, self._graph, self._node, self._taken = model, graph, node, taken
        self._stem = next(filter(None, node.output))
        self._held = {tensor.name: self.fresh(tensor.name) for tensor in graph.initializer}
        for tensor in graph.initializer:
            set_initializer(model, self._held[tensor.name], values_of(tensor))
        self.ends: list[str] = []

    def fresh(self, name: str) -> str:
        """A name that no tensor of the model has, near to this one."""
        free, number = name, 0
        while free in self._taken:
            free, number = f"{self._stem}.{name}" + (f"_{number}" if number else ""), number + 1
        self._taken.add(free)
        return free

    def held(self, name: str, values: np.ndarray) -> str:
        """The name of a constant of the model with these values."""
        called = self.fresh(f"{self._stem}.{name}")
        set_initializer(self._model, called, values)
        return called

    def round(self, given: Mapping[str, str], suffix: str) -> list[onnx.NodeProto]:
        """The nodes, for these tensors in place of the graph's inputs."""
        names = {**given, **self._held}
        for node in self._graph.node:
            names.update({name: self.fresh(f"{name}{suffix}") for name in node.output if name})
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in self._graph.node]
        for node in nodes:
            node.name = f"{node.name or node.output[0]}{suffix}"
            rename(node, names)
        self.ends = [names.get(output.name, output.name) for output in self._graph.output]
        return nodes


def rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """Let a node, and graphs within it, read and make tensors by other names, in place."""
    for field in (node.input, node.output):
        field[:] = [names.get(name, name) for name in field]
    for graph in nested_graphs(node):
        own = {entry.name for entry in (*graph.input, *graph.initializer)}
        own |= {name for each in graph.node for name in each.output}
        outer = {name: other for name, other in names.items() if name not in own}
        for each in graph.node:
            rename(each, outer)
        for output in graph.output:
            output.name = outer.get(output.name, output.name)


def _renamed(sources: Sequence[str], names: Iterable[str]) -> list[onnx.NodeProto]:
    pairs = zip(sources, names, strict=False)
    return [helper.make_node("Identity", [source], [name], name) for source, name in pairs if name]


def _names(graph: onnx.GraphProto) -> set[str]:
    """The names of all tensors of a graph, and of those within it."""
    found = {entry.name for entry in (*graph.input, *graph.initializer, *graph.output)}
    for node in graph.node:
        found.update(node.output)
        for nested in nested_graphs(node):
            found |= _names(nested)
    return found
