"""Operators in others that the passes here take: GroupNormalization, CastLike, computed bounds of Clip."""

import numpy as np
import onnx
from onnx import helper

from edgepress.graph.normalise.limits import refuse
from edgepress.graph.normalise.native import FIRST_OF_CHANNELS, inferred
from edgepress.graph.normalise.structure import opset
from edgepress.graph.shapes import without_weights
from edgepress.graph.view import attributes, replace_nodes, set_initializer

_OPERATOR = "GroupNormalization"


def write_casts(model: onnx.ModelProto) -> None:
    """Write each CastLike whose type is known, in place, as Cast: PyTorch leaves them around constants."""
    if not any(node.op_type == "CastLike" for node in model.graph.node):
        return
    types = {info.name: info.type.tensor_type.elem_type for info in inferred(model).values()}
    types |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "CastLike" and (kind := types.get(node.input[1])):
            kept = [attribute for attribute in node.attribute if attribute.name in ("saturate", "round_mode")]
            cast = helper.make_node("Cast", node.input[:1], node.output, node.name, to=kind)
            cast.attribute.extend(kept)
            node.CopyFrom(cast)


def expand_computed_clips(model: onnx.ModelProto) -> None:
    """Write each Clip one of whose bounds is computed, in place, as Max and Min."""
    known, nodes = {tensor.name for tensor in model.graph.initializer}, list[onnx.NodeProto]()
    for node in model.graph.node:
        bounds = [(op, name) for op, name in zip(("Max", "Min"), node.input[1:], strict=False) if name]
        if node.op_type != "Clip" or known.issuperset(name for _, name in bounds):
            nodes.append(node)
            continue
        source, output = node.input[0], node.output[0]
        for number, (op, bound) in enumerate(bounds, 1):
            result = output if number == len(bounds) else f"{output}.{op}"
            nodes.append(helper.make_node(op, [source, bound], [result], f"{node.name or output}.{op}"))
            source = result
    replace_nodes(model, nodes)


def expand_group_norms(model: onnx.ModelProto) -> None:
    """Write each GroupNormalization, in place, as InstanceNormalization between reshapes, as PyTorch does.

    Shape inference of onnx knows nothing behind it.

    Raises:
        UnsupportedModelError: the number of axes of an operand cannot be inferred.
    """
    if not any(node.op_type == _OPERATOR for node in model.graph.node):
        return
    infos, nodes, version = _infos(model), list[onnx.NodeProto](), opset(model)
    for node in model.graph.node:
        if node.op_type != _OPERATOR:
            nodes.append(node)
            continue
        info = infos.get(node.input[0])
        if info is None or not info.type.tensor_type.HasField("shape"):
            refuse(f"the shape of {node.input[0]!r} cannot be inferred", "export it with fixed shapes")
        rank = len(info.type.tensor_type.shape.dim)
        if version < FIRST_OF_CHANNELS:
            nodes.extend(_of_groups(model, node))
        else:
            nodes.extend(_of_channels(model, node, rank))
    replace_nodes(model, nodes)


def _infos(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """All shapes, found with nodes in place of these whose shapes onnx infers: they are their operands'."""
    light, _ = without_weights(model)
    for node in light.graph.node:
        if node.op_type == _OPERATOR:
            node.CopyFrom(helper.make_node("Identity", node.input[:1], node.output))
    return inferred(light)


def _of_groups(model: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Opset 18's: one scale and bias for each group."""
    (x, scale, bias), output, make = node.input, node.output[0], helper.make_node
    set_initializer(model, f"{output}.groups", np.array([0, attributes(node)["num_groups"], -1]))
    grouped, even, shape = (f"{output}.{part}" for part in ("grouped", "even", "sizes"))
    epsilon = attributes(node).get("epsilon", 1e-5)
    return [
        make("Reshape", [x, f"{output}.groups"], [grouped], grouped),
        make("InstanceNormalization", [grouped, scale, bias], [even], node.name, epsilon=epsilon),
        make("Shape", [x], [shape], shape),
        make("Reshape", [even, shape], [output], f"{node.name or output}.back"),
    ]


def _of_channels(model: onnx.ModelProto, node: onnx.NodeProto, rank: int) -> list[onnx.NodeProto]:
    """Opset 21's: one scale and bias for each channel."""
    (x, scale, bias), output, given, make = node.input, node.output[0], attributes(node), helper.make_node
    groups, epsilon = given["num_groups"], given.get("epsilon", 1e-5)
    constants = {
        "groups": np.array([0, groups, -1]),
        "ones": np.ones(groups, np.float32),
        "zeros": np.zeros(groups, np.float32),
        "column": np.array([-1] + [1] * (rank - 2)),
    }
    for part, values in constants.items():
        set_initializer(model, f"{output}.{part}", values)
    name = {
        part: f"{output}.{part}" for part in ("grouped", "even", "shape", "back", "by", "scaled", "shift")
    }
    ones, zeros, column = (f"{output}.{part}" for part in ("ones", "zeros", "column"))
    return [
        make("Reshape", [x, f"{output}.groups"], [name["grouped"]], name["grouped"]),
        make(
            "InstanceNormalization",
            [name["grouped"], ones, zeros],
            [name["even"]],
            node.name,
            epsilon=epsilon,
        ),
        make("Shape", [x], [name["shape"]], name["shape"]),
        make("Reshape", [name["even"], name["shape"]], [name["back"]], name["back"]),
        make("Reshape", [scale, column], [name["by"]], name["by"]),
        make("Mul", [name["back"], name["by"]], [name["scaled"]], name["scaled"]),
        make("Reshape", [bias, column], [name["shift"]], name["shift"]),
        make("Add", [name["scaled"], name["shift"]], [output], f"{node.name or output}.shifted"),
    ]
