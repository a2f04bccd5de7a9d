"""What the planner reads from an ONNX model: names, inputs, inferred shapes and types."""

import onnx

Shape = tuple[int | None, ...]


def name_nodes(model: onnx.ModelProto) -> None:
    """Call nodes without a name by what they make, or else by their operator and place."""
    for index, node in enumerate(model.graph.node):
        node.name = node.name or node.output[0] or f"{node.op_type}_{index}"


def inputs_of(model: onnx.ModelProto) -> list[str]:
    """The names of the inputs that are not initializers with a default."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [entry.name for entry in model.graph.input if entry.name not in constants]


def tensor_shape(info: onnx.ValueInfoProto) -> Shape:
    """A tensor's sizes, None where open."""
    return tuple(_size(d) for d in info.type.tensor_type.shape.dim)


def _size(dimension: onnx.TensorShapeProto.Dimension) -> int | None:
    return dimension.dim_value if dimension.HasField("dim_value") else None
