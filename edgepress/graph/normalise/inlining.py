"""Graphs within nodes written out beside these: a branch, or a body for each of its rounds."""

from collections.abc import Mapping

import numpy as np
import onnx

from edgepress.graph.aside import values_of
from edgepress.graph.view import nested_graphs, set_initializer


def fresh_name(name: str, stem: str, taken: set[str]) -> str:
    """The name or, where it is taken, one that begins with the stem; it is taken from now on."""
    free, number = name, 0
    while free in taken:
        free, number = f"{stem}.{name}" + (f"_{number}" if number else ""), number + 1
    taken.add(free)
    return free


class GraphWriter:
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
        return fresh_name(name, self._stem, self._taken)

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
