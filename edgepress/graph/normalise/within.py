"""What is done to a model done to the graphs within its nodes, too: branches, and bodies of loops."""

from collections.abc import Callable

import onnx

from edgepress.graph.nested import Given, as_model, constants_of, known_shapes, scanned
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
            _change(light, node, graph, shapes, work)


def _change(
    model: onnx.ModelProto,
    node: onnx.NodeProto,
    graph: onnx.GraphProto,
    shapes: dict[str, Given],
    work: Callable[[onnx.ModelProto], None],
) -> None:
    """Names that it reads from around it are inputs of the model that stands for the graph."""
    own = dict(zip((entry.name for entry in graph.input), _own_inputs(node, graph, shapes), strict=False))
    names = outer_names(graph)
    read = {name: shapes[name] for name in names if name in shapes}
    inner = as_model(graph, model.opset_import, {**own, **read}, constants_of(model, names))
    do_within(inner, work)
    work(inner)
    held = [tensor for tensor in inner.graph.initializer if tensor.name not in names]
    for field, entries in (("node", inner.graph.node), ("initializer", held)):
        del getattr(graph, field)[:]
        getattr(graph, field).extend(entries)
    for output, made in zip(graph.output, inner.graph.output, strict=True):
        output.name = made.name
    del graph.value_info[:]


def _own_inputs(node: onnx.NodeProto, graph: onnx.GraphProto, shapes: dict[str, Given]) -> list[Given]:
    """The types and shapes of its inputs: of the node's operands, or as they are declared."""
    return [
        _operand(node, place, shapes) or _declared(entry.type.tensor_type)
        for place, entry in enumerate(graph.input)
    ]


def _declared(tensor: onnx.TypeProto.Tensor) -> Given:
    dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    return Given(tensor.elem_type, tuple(dims))


def _operand(node: onnx.NodeProto, place: int, shapes: dict[str, Given]) -> Given | None:
    """What a Loop or a Scan gives to this input of its body; None where that is not known."""
    given = shapes.get(node.input[place]) if place < len(node.input) else None
    if given is None or node.op_type not in ("Loop", "Scan") or (node.op_type == "Loop" and place < 2):
        return None
    return scanned(node, place, given) if node.op_type == "Scan" else given
