"""The small trained network as other producers would have written it."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgepress.graph.view import copy, replace_nodes
from tests.networks import network

MEAN, STD = 128.0, 50.0
"""The scaling of inputs that `network` does itself, before its first convolution."""


def unscaled() -> onnx.ModelProto:
    """The network without its first two nodes, so that it wants (x − MEAN) / STD."""
    model = network()
    nodes = list(model.graph.node)
    entry, scaled = model.graph.input[0].name, nodes[1].output[0]
    for node in nodes[2:]:
        node.input[:] = [entry if name == scaled else name for name in node.input]
    replace_nodes(model, nodes[2:])
    return model


def with_softmax(model: onnx.ModelProto) -> onnx.ModelProto:
    """Probabilities instead of logits."""
    changed = copy(model)
    inner = changed.graph.output[0].name
    changed.graph.output[0].name = "probabilities"
    changed.graph.node.append(helper.make_node("Softmax", [inner], ["probabilities"], axis=1))
    return changed


def with_channels_last(model: onnx.ModelProto) -> onnx.ModelProto:
    """Inputs (N, H, W, C), as converters from TensorFlow leave them."""
    return _with_entry(model, [0, 3, 1, 2])


def with_vectors(model: onnx.ModelProto) -> onnx.ModelProto:
    """Inputs in a row (N, C·H·W)."""
    changed = copy(model)
    dims = changed.graph.input[0].type.tensor_type.shape.dim
    sizes = [dim.dim_value for dim in dims[1:]]
    changed.graph.initializer.append(numpy_helper.from_array(np.array([-1, *sizes]), "image_sizes"))
    return _before(
        changed, helper.make_node("Reshape", ["row", "image_sizes"], ["image"]), [int(np.prod(sizes))]
    )


def with_batch_of(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """A fixed batch, as exporters write by default."""
    changed = copy(model)
    for end in (*changed.graph.input, *changed.graph.output):
        end.type.tensor_type.shape.dim[0].dim_value = batch
    del changed.graph.value_info[:]
    return changed


def with_open_image(model: onnx.ModelProto) -> onnx.ModelProto:
    """Height and width as names."""
    changed = copy(model)
    dims = changed.graph.input[0].type.tensor_type.shape.dim
    dims[2].dim_param, dims[3].dim_param = "height", "width"
    return changed


def with_constant_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights in Constant nodes instead of initializers."""
    changed = copy(model)
    constants = [helper.make_node("Constant", [], [t.name], value=t) for t in changed.graph.initializer]
    del changed.graph.initializer[:]
    replace_nodes(changed, [*constants, *changed.graph.node])
    return changed


def with_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The same operators in another opset; those of this network have changed in nothing that it uses."""
    changed = copy(model)
    changed.opset_import[0].version = opset
    onnx.checker.check_model(changed, full_check=True)
    return changed


def with_factors(model: onnx.ModelProto) -> onnx.ModelProto:
    """A Gemm with factors that cancel those of its constants."""
    changed = copy(model)
    gemm = next(node for node in changed.graph.node if node.op_type == "Gemm")
    gemm.attribute.extend([helper.make_attribute("alpha", 0.5), helper.make_attribute("beta", 4.0)])
    for tensor in changed.graph.initializer:
        factor = {gemm.input[1]: 2.0, gemm.input[2]: 0.25}.get(tensor.name)
        if factor:
            values = numpy_helper.to_array(tensor) * np.float32(factor)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return changed


def _with_entry(model: onnx.ModelProto, order: list[int]) -> onnx.ModelProto:
    dims = model.graph.input[0].type.tensor_type.shape.dim
    sizes = [dims[order.index(axis)].dim_value for axis in range(1, 4)]
    node = helper.make_node("Transpose", ["row"], ["image"], perm=order)
    return _before(copy(model), node, sizes)


def _before(model: onnx.ModelProto, node: onnx.NodeProto, sizes: list[int]) -> onnx.ModelProto:
    """Put a node from an input `row` of these sizes to `image` before the network, in place."""
    entry = model.graph.input[0]
    for reader in model.graph.node:
        reader.input[:] = ["image" if name == entry.name else name for name in reader.input]
    replace_nodes(model, [node, *model.graph.node])
    entry.CopyFrom(helper.make_tensor_value_info("row", onnx.TensorProto.FLOAT, ["n", *sizes]))
    return model
