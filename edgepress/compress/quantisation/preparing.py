"""Rewriting a float model so that as much of it as possible has integer kernels; it computes the same."""

import numpy as np
import onnx

from edgepress.graph.constants import fold_constants
from edgepress.graph.view import (
    Array,
    attributes,
    copy,
    initializers,
    remove_unused_initializers,
    replace_nodes,
    set_initializer,
)

_TAKEN_SUFFIXES = ("_scale", "_zero_point", "_quantized")


def rewritten(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without operators that others with integer kernels can stand in for.

    Constants are folded; a sum of several tensors becomes sums of two; x² becomes x·x; HardSigmoid becomes
    BatchNormalization, which goes into the layer before it, and Clip. So to be called before folding.
    """
    changed = copy(model)
    fold_constants(changed)
    nodes: list[onnx.NodeProto] = []
    for node in changed.graph.node:
        node.name = node.name or node.output[0]
        nodes.extend(_rewritten(changed, node))
    replace_nodes(changed, nodes)
    remove_unused_initializers(changed)
    return changed


def _rewritten(model: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    if node.op_type == "Sum" and len(node.input) > 1:
        return _pairwise(node)
    if node.op_type == "Pow" and _is(model, node.input[1], 2.0):
        return [onnx.helper.make_node("Mul", [node.input[0]] * 2, node.output, node.name)]
    if node.op_type == "HardSigmoid" and (channels := _channels(model, node.input[0])):
        return _clipped_line(model, node, channels)
    return [node]


def _pairwise(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    adds, total = [], node.input[0]
    for i, operand in enumerate(node.input[1:], 1):
        target = node.output[0] if i == len(node.input) - 1 else f"{node.output[0]}.{i}"
        adds.append(onnx.helper.make_node("Add", [total, operand], [target], f"{node.name}.{i}"))
        total = target
    return adds


def _clipped_line(model: onnx.ModelProto, node: onnx.NodeProto, channels: int) -> list[onnx.NodeProto]:
    """max(0, min(1, alpha·x + beta)), the line as a BatchNormalization."""
    given, base = attributes(node), node.output[0]
    line = (given.get("alpha", 0.2), given.get("beta", 0.5), 0.0, 1.0)
    names = [f"{base}.{part}" for part in ("slope", "shift", "mean", "variance")]
    for name, value in zip(names, line, strict=True):
        set_initializer(model, name, np.full(channels, value, np.float32))
    bounds = [f"{base}.low", f"{base}.high"]
    for name, value in zip(bounds, (0.0, 1.0), strict=True):
        set_initializer(model, name, np.array(value, np.float32))
    make = onnx.helper.make_node
    return [
        make(
            "BatchNormalization", [node.input[0], *names], [f"{base}.line"], f"{node.name}.line", epsilon=0.0
        ),
        make("Clip", [f"{base}.line", *bounds], [base], node.name),
    ]


def _is(model: onnx.ModelProto, name: str, value: float) -> bool:
    constant: Array | None = initializers(model).get(name)
    return constant is not None and constant.size == 1 and float(constant.item()) == value


def _channels(model: onnx.ModelProto, name: str) -> int:
    """The size of a tensor's second axis, 0 where it is unknown."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    for info in [*inferred.value_info, *inferred.input]:
        if info.name == name and len(info.type.tensor_type.shape.dim) > 1:
            return int(info.type.tensor_type.shape.dim[1].dim_value)
    return 0


def prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, its BatchNormalization folded, in a form that onnxruntime quantises fully.

    Subtracting a constant becomes adding its negative, since there is an int8 kernel for Add alone, and
    constants give up the names that onnxruntime makes for a tensor's scale and zero point.
    """
    changed = copy(model)
    constants = initializers(changed)
    for node in changed.graph.node:
        if node.op_type == "Sub" and node.input[1] in constants:
            negative = f"{node.input[1]}.negative"
            set_initializer(changed, negative, -constants[node.input[1]])
            node.op_type, node.input[1] = "Add", negative
        for i, name in enumerate(node.input):
            if name in constants and name.endswith(_TAKEN_SUFFIXES):
                set_initializer(changed, f"{name}.constant", constants[name])
                node.input[i] = f"{name}.constant"
    remove_unused_initializers(changed)
    return changed
