"""Other names for tensors, wherever they are made and read."""

from collections.abc import Mapping

import onnx

from edgepress.graph.view import all_nodes, nested_graphs


def names_of(graph: onnx.GraphProto) -> set[str]:
    """The names of all tensors of a graph, and of the graphs within it."""
    found = {entry.name for entry in (*graph.input, *graph.output, *graph.initializer)}
    for node in all_nodes(graph):
        found.update(node.output)
        for nested in nested_graphs(node):
            found.update(entry.name for entry in (*nested.input, *nested.initializer))
    return found


def rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Give tensors new names, in place, in a graph and in the graphs within it: no name is twice in them."""
    for node in graph.node:
        rename_reads(node, names)
        node.output[:] = [names.get(name, name) for name in node.output]
    for entry in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        entry.name = names.get(entry.name, entry.name)


def rename_reads(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """Let a node, and the graphs within it, read tensors under new names, in place."""
    node.input[:] = [names.get(name, name) for name in node.input]
    for nested in nested_graphs(node):
        rename(nested, names)
