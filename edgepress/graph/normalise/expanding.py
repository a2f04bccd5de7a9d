"""Operators in others that the passes here take: GroupNormalization, CastLike, computed bounds of Clip."""

import numpy as np
import onnx
import onnx.parser
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


def write_default_axes(model: onnx.ModelProto) -> None:
    """Give each MeanVarianceNormalization its axes, in place: without, onnx infers no shape for it."""
    for node in model.graph.node:
        if node.op_type == "MeanVarianceNormalization" and "axes" not in attributes(node):
            node.attribute.append(helper.make_attribute("axes", [0, 2, 3]))


def tell_unpooled_sizes(model: onnx.ModelProto) -> None:
    """Put behind each MaxUnpool of given sizes, in place, a Reshape to them: onnx infers no shape for it."""
    if not any(node.op_type == "MaxUnpool" for node in model.graph.node):
        return
    nodes = list[onnx.NodeProto]()
    for node in model.graph.node:
        nodes.append(node)
        if node.op_type == "MaxUnpool" and len(node.input) > 2 and node.input[2]:
            (output,) = node.output
            node.output[0] = f"{output}.unpooled"
            nodes.append(helper.make_node("Reshape", [node.output[0], node.input[2]], [output], node.name))
    replace_nodes(model, nodes)


def expand_given_codes(model: onnx.ModelProto) -> None:
    """Write out, in place, each DynamicQuantizeLinear whose codes the network gives."""
    ends, nodes = {output.name for output in model.graph.output}, list[onnx.NodeProto]()
    for node in model.graph.node:
        given = node.op_type == "DynamicQuantizeLinear" and ends.intersection(node.output)
        nodes.extend(_dynamic_codes(node) if given else [node])
    if len(nodes) > len(model.graph.node):
        replace_nodes(model, nodes)


_DYNAMIC_CODES = """
    zero_ = Constant <value = float {0.0}> ()
    most_ = Constant <value = float {255.0}> ()
    high_ = ReduceMax <keepdims = 0> (x)
    low_ = ReduceMin <keepdims = 0> (x)
    above_ = Max (high_, zero_)
    below_ = Min (low_, zero_)
    range_ = Sub (above_, below_)
    scale = Div (range_, most_)
    negative_ = Neg (below_)
    place_ = Div (negative_, scale)
    round_ = Round (place_)
    within_ = Clip (round_, zero_, most_)
    zero = Cast <to = 2> (within_)
    parts_ = Div (x, scale)
    whole_ = Round (parts_)
    moved_ = Add (whole_, within_)
    kept_ = Clip (moved_, zero_, most_)
    codes = Cast <to = 2> (kept_)
"""
"""As the standard's words have it: 8 bits without a sign for the range of x, with 0 in it."""


def _dynamic_codes(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    text = f"body (float x) => (uint8 codes, float scale, uint8 zero) {{{_DYNAMIC_CODES}}}"
    made = onnx.parser.parse_graph(text)
    outputs = dict(zip(("codes", "scale", "zero"), node.output, strict=False))
    names = {"x": node.input[0], **{key: name for key, name in outputs.items() if name}}
    for each in made.node:
        each.name = node.name
        each.input[:] = [names.get(name, f"{node.output[0]}.{name}") for name in each.input]
        each.output[:] = [names.get(name, f"{node.output[0]}.{name}") for name in each.output]
    return list(made.node)


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


def expand_computed_batchnorms(model: onnx.ModelProto) -> None:
    """Write each BatchNormalization of computed numbers, as tf2onnx has LayerNormalization, as arithmetic."""
    constants = {tensor.name for tensor in model.graph.initializer}
    computed = [
        node
        for node in model.graph.node
        if node.op_type == "BatchNormalization" and not constants.issuperset(node.input[1:5])
    ]
    if not computed:
        return
    infos, nodes = inferred(model), list[onnx.NodeProto]()
    for node in model.graph.node:
        known = node.input[0] in infos and infos[node.input[0]].type.tensor_type.HasField("shape")
        if known and any(node is each for each in computed):
            rank = len(infos[node.input[0]].type.tensor_type.shape.dim)
            nodes.extend(_as_arithmetic(model, node, rank))
        else:
            nodes.append(node)
    replace_nodes(model, nodes)


def _as_arithmetic(model: onnx.ModelProto, node: onnx.NodeProto, rank: int) -> list[onnx.NodeProto]:
    """(x − mean)/√(variance + epsilon)·scale + bias, each number for a channel."""
    (x, *parts), output, make = node.input, node.output[0], helper.make_node
    set_initializer(model, f"{output}.column", np.array([-1] + [1] * (rank - 2)))
    set_initializer(
        model, f"{output}.epsilon", np.float32(attributes(node).get("epsilon", 1e-5)) * np.ones(1, np.float32)
    )
    scale, bias, mean, variance = columns = [
        f"{output}.{part}" for part in ("scale", "bias", "mean", "variance")
    ]
    centred, above, spread, even, scaled = (
        f"{output}.{part}" for part in ("centred", "above", "spread", "even", "scaled")
    )
    return [
        *(
            make("Reshape", [part, f"{output}.column"], [column], column)
            for part, column in zip(parts, columns, strict=True)
        ),
        make("Sub", [x, mean], [centred], centred),
        make("Add", [variance, f"{output}.epsilon"], [above], above),
        make("Sqrt", [above], [spread], spread),
        make("Div", [centred, spread], [even], even),
        make("Mul", [even, scale], [scaled], scaled),
        make("Add", [scaled, bias], [output], node.name),
    ]


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
