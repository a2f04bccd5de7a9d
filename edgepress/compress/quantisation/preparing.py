"""Rewriting a float model so that as much of it as possible has integer kernels; it computes the same."""

from collections.abc import Mapping

import numpy as np
import onnx

from edgepress.compress.quantisation.averaging import averaging, takes_all
from edgepress.compress.quantisation.clipping import join_clips
from edgepress.compress.quantisation.cropping import crop_and_pad
from edgepress.compress.quantisation.gemm import as_gemm, plain_gemm
from edgepress.graph.constants import fold_constants
from edgepress.graph.shapes import inferred_infos
from edgepress.graph.view import (
    Array,
    attributes,
    consumers,
    copy,
    initializers,
    remove_unused_initializers,
    replace_nodes,
    set_initializer,
)

Constants = Mapping[str, Array]
Infos = Mapping[str, onnx.ValueInfoProto]

_TAKEN_SUFFIXES = ("_scale", "_zero_point", "_quantized")


def rewritten(model: onnx.ModelProto, slopes_of_int8: bool = True) -> onnx.ModelProto:
    """The model without operators that others with integer kernels can stand in for.

    Constants are folded, and x·1 and x + 0 left out, as TensorFlow's converter does; a Cast to the type that
    is there already becomes Identity, Relus and Clips in a row one Clip; a sum of several tensors
    becomes sums of two; x² becomes x·x; HardSigmoid becomes BatchNormalization, which goes into the layer
    before it, and Clip; and so does a positive factor for each channel. Means over windows become
    convolutions, means over images pools; a Gemm has neither alpha nor beta nor transA. With
    `slopes_of_int8`, LeakyRelu gets a slope that LiteRT's int8 kernel has. To be called before
    BatchNormalization is folded.
    """
    changed = copy(model)
    fold_constants(changed)
    _leave_out_idle(changed)
    _squeeze_means(changed)
    join_clips(changed)
    as_gemm(changed)
    nodes, infos, constants = list[onnx.NodeProto](), inferred_infos(changed), initializers(changed)
    for node in changed.graph.node:
        node.name = node.name or node.output[0]
        if slopes_of_int8 and node.op_type == "LeakyRelu":
            slope = _slope_in_litert(attributes(node).get("alpha", 0.01))
            node = onnx.helper.make_node("LeakyRelu", node.input, node.output, node.name, alpha=slope)
        nodes.extend(_rewritten(changed, node, constants, infos))
    replace_nodes(changed, nodes)
    remove_unused_initializers(changed)
    return changed


def _leave_out_idle(model: onnx.ModelProto) -> None:
    """Without factors of 1 and summands of 0, unless they make an output."""
    constants, infos = initializers(model), inferred_infos(model)
    outputs, instead = {output.name for output in model.graph.output}, dict[str, str]()
    nodes = list[onnx.NodeProto]()
    for node in model.graph.node:
        node.input[:] = [instead.get(name, name) for name in node.input]
        source = _passed(node, constants, infos)
        if source and node.output[0] not in outputs:
            instead[node.output[0]] = source
        else:
            nodes.append(node)
    replace_nodes(model, nodes)


def _squeeze_means(model: onnx.ModelProto) -> None:
    """A mean whose axes of size 1 the next node drops does so itself.

    Else TFLite's converter gives the mean the scale of its operand, and rounds twice.
    """
    readers, infos = consumers(model), inferred_infos(model)
    outputs, gone = {output.name for output in model.graph.output}, set[str]()
    for node in model.graph.node:
        following = readers[node.output[0]]
        if node.op_type != "ReduceMean" or len(following) != 1 or node.output[0] in outputs:
            continue
        kept, left = (_sizes(infos, each.output[0]) for each in (node, following[0]))
        dropped = [size for axis, size in enumerate(kept) if axis not in _axes(model, node, len(kept))]
        if (
            following[0].op_type in ("Squeeze", "Reshape", "Flatten")
            and left == dropped
            and left.count(0) < 2
        ):
            gone.add(following[0].output[0])
            node.output[0] = following[0].output[0]
            others = [each for each in node.attribute if each.name != "keepdims"]
            del node.attribute[:]
            node.attribute.extend([*others, onnx.helper.make_attribute("keepdims", 0)])
    dropping = ("Squeeze", "Reshape", "Flatten")
    kept_nodes = [n for n in model.graph.node if n.op_type not in dropping or n.output[0] not in gone]
    replace_nodes(model, kept_nodes)


def _axes(model: onnx.ModelProto, node: onnx.NodeProto, rank: int) -> list[int]:
    """Those that a ReduceMean drops or makes 1."""
    constant = initializers(model).get(node.input[1]) if len(node.input) > 1 else None
    axes = attributes(node).get("axes", []) if constant is None else constant.tolist()
    idle = not axes and attributes(node).get("noop_with_empty_axes", 0)
    return [axis % rank for axis in axes] or ([] if idle else list(range(rank)))


def _passed(node: onnx.NodeProto, constants: Constants, infos: Infos) -> str:
    """The operand that the node gives as it is, or ''."""
    neutral = {"Mul": 1.0, "Div": 1.0, "Add": 0.0, "Sub": 0.0}.get(node.op_type)
    for source, other in (tuple(node.input), tuple(node.input)[::-1]) if neutral is not None else ():
        values = constants.get(other)
        turned = other == node.input[0] and node.op_type in ("Div", "Sub")
        if values is not None and source not in constants and not turned and (values == neutral).all():
            same = _sizes(infos, source) == _sizes(infos, node.output[0]) != []
            return source if same and values.size == 1 else ""
    return ""


def _keeps_type(node: onnx.NodeProto, infos: Infos) -> bool:
    """Whether it is a Cast to the type that its operand has."""
    source = infos.get(node.input[0]) if node.op_type == "Cast" else None
    return source is not None and source.type.tensor_type.elem_type == attributes(node)["to"]


def _rewritten(
    model: onnx.ModelProto, node: onnx.NodeProto, constants: Constants, infos: Infos
) -> list[onnx.NodeProto]:
    if _keeps_type(node, infos):
        return [onnx.helper.make_node("Identity", node.input, node.output, node.name)]
    if node.op_type == "Sum" and len(node.input) > 1:
        return _pairwise(node)
    if node.op_type == "Pow" and _is(constants.get(node.input[1]), 2.0):
        return [onnx.helper.make_node("Mul", [node.input[0]] * 2, node.output, node.name)]
    if node.op_type == "Div" and _has_several_divisors(constants.get(node.input[1])):
        node = _times_reciprocal(model, node, constants[node.input[1]])
        constants = initializers(model)
    sizes = _sizes(infos, node.output[0])
    if node.op_type == "CenterCropPad" and node.input[1] in constants and all(_sizes(infos, node.input[0])):
        return crop_and_pad(model, node, _sizes(infos, node.input[0]), constants[node.input[1]])
    if node.op_type == "ReduceMean" and _is_global_pool(node, constants, infos):
        return _global_pool(node)
    if node.op_type == "AveragePool" and takes_all(node, _sizes(infos, node.input[0]), sizes):
        return [onnx.helper.make_node("GlobalAveragePool", node.input, node.output, node.name)]
    if node.op_type == "AveragePool" and len(sizes) == 4 and all(sizes[1:]):
        return averaging(model, node, _sizes(infos, node.input[0]), sizes)
    if node.op_type == "Gemm":
        return plain_gemm(model, node, constants)
    if node.op_type == "HardSigmoid" and len(sizes) > 1 and sizes[1]:
        return _clipped_line(model, node, sizes[1])
    if node.op_type == "HardSwish" and len(sizes) > 1 and sizes[1]:
        return _hard_swish(model, node, sizes[1])
    factor = _for_each_channel(constants, node, infos) if node.op_type == "Mul" else None
    if factor is not None and (factor > 0).all():
        (operand,) = (name for name in node.input if name not in constants)
        return [_line(model, operand, node.output[0], factor, np.zeros_like(factor))]
    return [node]


def _has_several_divisors(constant: Array | None) -> bool:
    return constant is not None and constant.size > 1 and np.ptp(constant) > 0 and bool(constant.all())


def _times_reciprocal(model: onnx.ModelProto, node: onnx.NodeProto, divisor: Array) -> onnx.NodeProto:
    """LiteRT's int8 kernel of Div is right for the largest code alone, often wrong for others."""
    factor = f"{node.output[0]}.reciprocal"
    set_initializer(model, factor, 1 / divisor)
    return onnx.helper.make_node("Mul", [node.input[0], factor], node.output, node.name)


def _pairwise(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    adds, total = [], node.input[0]
    for i, operand in enumerate(node.input[1:], 1):
        target = node.output[0] if i == len(node.input) - 1 else f"{node.output[0]}.{i}"
        adds.append(onnx.helper.make_node("Add", [total, operand], [target], f"{node.name}.{i}"))
        total = target
    return adds


def _slope_in_litert(slope: float) -> float:
    """The slope that XNNPACK's int8 kernel takes instead: a multiple of 1/256, where both scales are alike.

    An odd one leaves a single code halfway between two; that one goes up in XNNPACK, and here by the factor.
    """
    odd = 2 * np.floor(128 * slope) + 1
    return float(odd / 256 * (1 - 1e-4))


def _is_global_pool(node: onnx.NodeProto, constants: Constants, infos: Infos) -> bool:
    """Whether it takes the mean of each channel of an image."""
    given = constants.get(node.input[1]) if len(node.input) > 1 else None
    axes = attributes(node).get("axes", []) if given is None else given.tolist()
    rank = len(_sizes(infos, node.input[0]))
    return rank == 4 and sorted(axis % rank for axis in axes) == [2, 3]


def _global_pool(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The same as an operator that onnxruntime sums in integers for."""
    make, result = onnx.helper.make_node, node.output[0]
    if attributes(node).get("keepdims", 1):
        return [make("GlobalAveragePool", node.input[:1], [result], node.name)]
    pooled = f"{result}.pooled"
    return [
        make("GlobalAveragePool", node.input[:1], [pooled], f"{node.name}.pool"),
        make("Flatten", [pooled], [result], node.name),
    ]


def _clipped_line(model: onnx.ModelProto, node: onnx.NodeProto, channels: int) -> list[onnx.NodeProto]:
    """max(0, min(1, alpha·x + beta)), the line as a BatchNormalization."""
    given, base = attributes(node), node.output[0]
    slope, shift = (
        np.full(channels, given.get(k, d), np.float32) for k, d in (("alpha", 0.2), ("beta", 0.5))
    )
    bounds = [f"{base}.low", f"{base}.high"]
    for name, value in zip(bounds, (0.0, 1.0), strict=True):
        set_initializer(model, name, np.array(value, np.float32))
    return [
        _line(model, node.input[0], f"{base}.line", slope, shift),
        onnx.helper.make_node("Clip", [f"{base}.line", *bounds], [base], node.name),
    ]


def _hard_swish(model: onnx.ModelProto, node: onnx.NodeProto, channels: int) -> list[onnx.NodeProto]:
    """x·max(0, min(6, x + 3))/6 as v·max(0, min(√6, v + 3/√6)) with v = x/√6, the root in the layer before.

    LiteRT's own int8 kernel is up to three steps off; adding and multiplying round exactly.
    """
    base, root = node.output[0], np.float32(np.sqrt(6))
    constants = {"half": 3 / root, "low": np.float32(0), "high": root}
    for part, value in constants.items():
        set_initializer(model, f"{base}.{part}", np.asarray(value, np.float32))
    v, raised, gate = (f"{base}.{part}" for part in ("root", "raised", "gate"))
    slope = np.full(channels, 1 / root, np.float32)
    make = onnx.helper.make_node
    return [
        _line(model, node.input[0], v, slope, np.zeros_like(slope)),
        make("Add", [v, f"{base}.half"], [raised], raised),
        make("Clip", [raised, f"{base}.low", f"{base}.high"], [gate], gate),
        make("Mul", [v, gate], [base], node.name),
    ]


def _line(model: onnx.ModelProto, operand: str, result: str, slope: Array, shift: Array) -> onnx.NodeProto:
    """slope·x + shift for each channel (channels,), as a BatchNormalization."""
    values = {"slope": slope, "shift": shift, "mean": np.zeros_like(slope), "variance": np.ones_like(slope)}
    for part, each in values.items():
        set_initializer(model, f"{result}.{part}", each)
    names = [f"{result}.{part}" for part in values]
    return onnx.helper.make_node("BatchNormalization", [operand, *names], [result], result, epsilon=0.0)


def _is(constant: Array | None, value: float) -> bool:
    return constant is not None and constant.size == 1 and float(constant.item()) == value


def prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, its BatchNormalization folded, in a form that onnxruntime quantises fully.

    Subtracting a constant becomes adding its negative, since there is an int8 kernel for Add alone; a factor
    and a summand for each channel of an image become a depthwise convolution, which rounds once; and
    constants give up the names that onnxruntime makes for a tensor's scale and zero point.
    """
    changed = copy(model)
    constants = initializers(changed)
    for node in changed.graph.node:
        if node.op_type == "Sub" and node.input[1] in constants:
            negative = f"{node.input[1]}.negative"
            set_initializer(changed, negative, -constants[node.input[1]])
            node.op_type, node.input[1] = "Add", negative
    _join_factors(changed)
    for node in changed.graph.node:
        for i, name in enumerate(node.input):
            if name in constants and name.endswith(_TAKEN_SUFFIXES):
                set_initializer(changed, f"{name}.constant", constants[name])
                node.input[i] = f"{name}.constant"
    remove_unused_initializers(changed)
    return changed


def _join_factors(model: onnx.ModelProto) -> None:
    """Each Mul by a factor for each channel, and the Add of a summand after it, as one depthwise Conv."""
    constants, readers, infos = initializers(model), consumers(model), inferred_infos(model)
    outputs, gone = {output.name for output in model.graph.output}, set[str]()
    for node in model.graph.node:
        factor = _for_each_channel(constants, node, infos) if node.op_type == "Mul" else None
        if factor is None:
            continue
        name, following = node.output[0], readers[node.output[0]]
        kernel, channels = f"{name}.factor", len(factor)
        operands = [next(operand for operand in node.input if operand not in constants), kernel]
        set_initializer(model, kernel, factor.reshape(-1, 1, 1, 1))
        if len(following) == 1 and following[0].op_type == "Add" and name not in outputs:
            summand = _for_each_channel(constants, following[0], infos)
            if summand is not None:
                set_initializer(model, f"{name}.summand", summand)
                operands.append(f"{name}.summand")
                gone.add(following[0].output[0])
                name = following[0].output[0]
        node.CopyFrom(onnx.helper.make_node("Conv", operands, [name], node.name, group=channels))
    replace_nodes(
        model, [node for node in model.graph.node if node.op_type != "Add" or node.output[0] not in gone]
    )


def _for_each_channel(constants: Constants, node: onnx.NodeProto, infos: Infos) -> Array | None:
    """The node's constant operand (channels,), if it has one for each channel of an image and no more."""
    given = [name for name in node.input if name in constants]
    sizes = _sizes(infos, node.output[0])
    if len(given) != 1 or len(sizes) != 4 or sizes[1] < 2:
        return None
    values = constants[given[0]]
    return values.reshape(-1) if (1,) * (4 - values.ndim) + values.shape == (1, sizes[1], 1, 1) else None


def _sizes(infos: Infos, name: str) -> list[int]:
    """0 where open; none at all where the rank is unknown."""
    return [dim.dim_value for dim in infos[name].type.tensor_type.shape.dim] if name in infos else []
