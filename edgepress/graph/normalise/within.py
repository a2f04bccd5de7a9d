"""What is done to a model done to the graphs within its nodes, too: branches, and bodies of loops."""

from collections.abc import Callable

import onnx

from edgepress.graph.nested import Given, as_model, known_shapes
from edgepress.graph.shapes import without_weights
from edgepress.graph.view import nested_graphs, outer_names


def do_within(model: onnx.ModelProto, work: Callable[[onnx.ModelProto], None]) -> None:
    """Change, in place, each graph within a node as `work` changes a model, the innermost first."""
    holders = [node for node in model.graph.node if nested_graphs(node)]
    if not holders:
        return
    light, _ = without_weights(model)
    shapes = known_shapes(light)
    for node in holders:
        for graph in nested_graphs(node):
            _change(model, node, graph, shapes, work)


def _change(
    model: onnx.ModelProto,
    node: onnx.NodeProto,
    graph: onnx.GraphProto,
    shapes: dict[str, Given],
    work: Callable[[onnx.ModelProto], None],
) -> None:
    """Names that it reads from around it are inputs of the model that stands for the graph."""
    own = dict(zip((entry.name for entry in graph.input), _own_inputs(node, graph, shapes), strict=False))
    read = {name: shapes[name] for name in outer_names(graph) if name in shapes}
    inner = as_model(graph, model.opset_import, {**own, **read})
    do_within(inner, work)
    work(inner)
    for field in ("node", "initializer"):
        del getattr(graph, field)[:]
        getattr(graph, field).extend(getattr(inner.graph, field))
    for output, made in zip(graph.output, inner.graph.output, strict=True):
        output.name = made.name
    del graph.value_info[:]


def _own_inputs(node: onnx.NodeProto, graph: onnx.GraphProto, shapes: dict[str, Given]) -> list[Given]:
    """The types, and where they are declared or those of the node's operands the shapes, of its inputs."""
    found = []
    for place, entry in enumerate(graph.input):
        tensor = entry.type.tensor_type
        dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
        declared = Given(tensor.elem_type, tuple(dims))
        carried = node.op_type == "Loop" and 1 < place < len(node.input)
        source = node.input[place] if carried else ""
        found.append(shapes.get(source, declared))
    return found
