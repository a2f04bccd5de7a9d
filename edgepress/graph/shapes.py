"""Shape inference without the weights: it needs their types and shapes alone, and copies what it is given."""

import math
from collections.abc import Mapping

import onnx
from onnx import TensorProto

from edgepress.graph.aside import LARGE
from edgepress.graph.classical_shapes import tell_classical_shapes
from edgepress.graph.nested import tell_loop_shapes
from edgepress.graph.strangers import forget_outputs

BATCH = "batch"
"""What the open number of samples is called in a normalised model."""


def without_weights(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[TensorProto]]:
    """A copy in which large initializers are inputs, and these initializers."""
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    light.graph.name = model.graph.name or "graph"
    for field in ("node", "input", "output"):
        getattr(light.graph, field).extend(getattr(model.graph, field))
    # A constant tells its shape itself; what is noted under its name may be of one that was replaced.
    constants = {tensor.name for tensor in model.graph.initializer}
    light.graph.value_info.extend(info for info in model.graph.value_info if info.name not in constants)
    heavy, declared = [], {entry.name for entry in model.graph.input}
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= LARGE:
            light.graph.initializer.append(tensor)
            continue
        heavy.append(tensor)
        if tensor.name not in declared:
            kind = light.graph.input.add(name=tensor.name).type.tensor_type
            kind.elem_type = tensor.data_type
            kind.shape.dim.extend(onnx.TensorShapeProto.Dimension(dim_value=size) for size in tensor.dims)
    return light, heavy


def open_sizes(model: onnx.ModelProto) -> list[str]:
    """The names of the sizes that the model's inputs leave open, in their order."""
    dims = (dim for entry in model.graph.input for dim in entry.type.tensor_type.shape.dim)
    return list(dict.fromkeys(dim.dim_param for dim in dims if not dim.HasField("dim_value")))


def set_sizes(model: onnx.ModelProto, sizes: Mapping[str, int]) -> None:
    """Give open sizes of inputs, by name, a number, in place; the outputs' shapes are then unknown.

    So do those of what is declared besides.
    """
    for entry in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        for dim in entry.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value") and dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]
    forget_outputs(model)


def sized_nodes(model: onnx.ModelProto) -> set[str]:
    """What nodes make that tell the sizes of tensors of which some are open."""
    infos = inferred_infos(model)
    found = set[str]()
    for node in model.graph.node:
        if node.op_type in ("Shape", "Size"):
            tensor = infos[node.input[0]].type.tensor_type if node.input[0] in infos else None
            fixed = tensor is not None and tensor.HasField("shape")
            fixed = fixed and tensor is not None and all(d.HasField("dim_value") for d in tensor.shape.dim)
            found.update(() if fixed else node.output)
    return found


def inferred_infos(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """Type and shape of each tensor but the constants, as far as onnx can tell."""
    light, heavy = without_weights(model)
    tell_loop_shapes(light)
    tell_classical_shapes(light)
    graph = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    constants = {tensor.name for tensor in heavy}
    infos = [*graph.input, *graph.value_info, *graph.output]
    return {info.name: info for info in infos if info.name not in constants}
