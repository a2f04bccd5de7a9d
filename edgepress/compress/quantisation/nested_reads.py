"""What branches and the bodies of loops read of a quantised network around them."""

from collections.abc import Iterator

import onnx

from edgepress.graph.normalise.structure import sort_nodes
from edgepress.graph.renaming import rename
from edgepress.graph.view import initializers, nested_graphs, outer_names, replace_nodes

MOVES = (
    "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Slice", "MaxPool", "Flatten", "Identity", "Split",
    "Gather", "Expand", "Tile", "GatherND", "GatherElements", "Compress",
)  # fmt: skip
"""What these make are elements of what they take, so the codes of that.

ONNX Runtime aborts because of the first six where a graph within a node reads what they make; its
optimisation may turn the others into one of them.
"""


def read_codes_within(quantised: onnx.ModelProto) -> None:
    """Let graphs within nodes read what codes stand for, in place.

    Else they would read a tensor before it is rounded, and before a Relu that was left out of it.

    Ensures: none of them reads what was moved behind a DequantizeLinear without codes of its own. ONNX
        Runtime (1.31) would move the codes instead, look for the DequantizeLinear's new reader among the
        nodes of the graph around, and abort the process.
    """
    made = {
        node.output[0]: node.input[0] for node in quantised.graph.node if node.op_type == "QuantizeLinear"
    }
    pairs = (node for node in quantised.graph.node if node.op_type == "DequantizeLinear")
    behind = {made[node.input[0]]: node.output[0] for node in pairs if node.input[0] in made}
    for graph in _graphs_within(quantised):
        rename(graph, {name: behind[name] for name in outer_names(graph) if name in behind})
    _requantise_moved(quantised)
    sort_nodes(quantised)


def _graphs_within(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    return (graph for node in model.graph.node for graph in nested_graphs(node))


def _requantise_moved(quantised: onnx.ModelProto) -> None:
    """Give what was moved the codes of its source, which changes no value."""
    within = {name for graph in _graphs_within(quantised) for name in outer_names(graph)}
    codes = _dequantised(quantised)
    nodes = list[onnx.NodeProto]()
    for node in quantised.graph.node:
        nodes.append(node)
        if node.op_type not in (*MOVES, "Dropout") or node.input[0] not in codes:
            continue
        for i, name in enumerate(node.output):
            codes[name] = codes[node.input[0]]
            if name in within:
                node.output[i] = f"{name}_QuantizeLinear_Input"
                nodes += _pair(name, codes[name])
    replace_nodes(quantised, nodes)


def _dequantised(model: onnx.ModelProto) -> dict[str, list[str]]:
    """What is made of codes of one scale, each with the names of its scale and zero point."""
    constants = initializers(model)
    return {
        node.output[0]: list(node.input[1:])
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and constants[node.input[1]].size == 1
    }


def _pair(name: str, parameters: list[str]) -> list[onnx.NodeProto]:
    """Both operators between a tensor's `_QuantizeLinear_Input` and the tensor."""
    made, make = f"{name}_QuantizeLinear", onnx.helper.make_node
    return [
        make("QuantizeLinear", [f"{made}_Input", *parameters], [f"{made}_Output"], made),
        make("DequantizeLinear", [f"{made}_Output", *parameters], [name], f"{name}_DequantizeLinear"),
    ]
