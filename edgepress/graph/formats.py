"""In which number format a model computes, and the way back to plain float32."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NoReturn

import numpy as np
import onnx

from edgepress.errors import UnsupportedModelError
from edgepress.graph.view import (
    Array,
    attributes,
    consumers,
    copy,
    initializers,
    producers,
    remove_unused_initializers,
    replace_nodes,
    set_initializer,
)

NumberFormat = Literal["float32", "fp16", "dynamic", "int8"]


def number_format(model: onnx.ModelProto) -> NumberFormat:
    """Read from the graph itself, so that no file needs to come with its configuration."""
    ops, wide = {node.op_type for node in model.graph.node}, _wide_codes(model)
    if any(node.op_type == "QuantizeLinear" and not wide(node) for node in model.graph.node):
        return "int8"
    if "DynamicQuantizeLinear" in ops:
        return "dynamic"
    float16 = any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer)
    return "fp16" if float16 else "float32"


_WORDS = (onnx.TensorProto.INT16, onnx.TensorProto.UINT16)


def _wide_codes(model: onnx.ModelProto) -> Callable[[onnx.NodeProto], bool]:
    """Whether a QuantizeLinear makes codes of 16 bits, which say nothing of the kernels that read them."""
    words = {tensor.name for tensor in model.graph.initializer if tensor.data_type in _WORDS}
    return lambda node: (
        attributes(node).get("output_dtype") in _WORDS or any(name in words for name in node.input[2:])
    )


def to_float(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with float32 constants, its weights as the format stores them, and no rounding of
    activations.
    """
    restored = copy(model)
    _dequantise_integer_products(restored)
    _drop_activation_quantisation(restored)
    _fold_constants(restored)
    _drop_unread_nodes(restored)
    remove_unused_initializers(restored)
    return restored


def restore_activations(plain: onnx.ModelProto, quantised: onnx.ModelProto) -> onnx.ModelProto:
    """Put the Relu and Relu6 back that onnxruntime left out of an int8 model because its ranges clip alike.

    `plain` is `to_float(quantised)`. A tensor whose codes begin at 0 and cannot be negative gets a Relu;
    where they also end at 6, a Clip.
    """
    bounds = _clipping_ranges(quantised)
    restored, nodes = copy(plain), []
    for node in restored.graph.node:
        nodes.append(node)
        name = node.output[0]
        if name in bounds and node.op_type in _SIGNED:
            node.output[0] = f"{name}.unclipped"
            nodes.append(_clip(restored, node.output[0], name, bounds[name]))
    replace_nodes(restored, nodes)
    return restored


_SIGNED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Sub", "Mul", "Div", "BatchNormalization")
_SIX = 6.0


def _clipping_ranges(model: onnx.ModelProto) -> dict[str, float]:
    """The upper end of each quantised activation whose lower end is 0."""
    constants, ends = initializers(model), {}
    for node in model.graph.node:
        zero = constants.get(node.input[2]) if node.op_type == "QuantizeLinear" else None
        if zero is not None and zero.item() == np.iinfo(zero.dtype).min:
            name = node.input[0].removesuffix("_QuantizeLinear_Input")
            ends[name] = 255 * float(constants[node.input[1]].item())
    return ends


def _clip(model: onnx.ModelProto, source: str, target: str, end: float) -> onnx.NodeProto:
    if abs(end - _SIX) > _SIX / 255:
        return onnx.helper.make_node("Relu", [source], [target], f"{target}.relu")
    for bound, value in (("low", 0.0), ("high", _SIX)):
        set_initializer(model, f"{target}.{bound}", np.array(value, np.float32))
    return onnx.helper.make_node(
        "Clip", [source, f"{target}.low", f"{target}.high"], [target], f"{target}.relu6"
    )


def dequantise(codes: Array, scale: Array, zero_point: Array, axis: int, block: int = 0) -> Array:
    """(codes − zero point)·scale, per tensor, along `axis` or for each `block` of it; float32."""
    shift = _spread(zero_point.astype(np.float32), codes.shape, axis, block)
    factor = _spread(scale.astype(np.float32), codes.shape, axis, block)
    values: Array = (codes.astype(np.float32) - shift) * factor
    return values


def quantise(values: Array, scale: Array, zero_point: Array, axis: int, block: int = 0) -> Array:
    """The codes of float values, rounded half to even and saturated, of the zero point's type."""
    low, high = code_limits(zero_point.dtype)
    factor = _spread(scale.astype(np.float32), values.shape, axis, block)
    shift = _spread(zero_point.astype(np.float32), values.shape, axis, block)
    codes: Array = np.clip(np.rint(values / factor) + shift, low, high).astype(zero_point.dtype)
    return codes


_NARROW = {"int4": (-8, 7), "uint4": (0, 15), "int2": (-2, 1), "uint2": (0, 3)}
"""The limits of types that onnx has and numpy has not."""


def code_limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    """The lowest and the highest code of a type."""
    if dtype.name in _NARROW:
        return _NARROW[dtype.name]
    limits = np.iinfo(dtype)
    return limits.min, limits.max


def _spread(parameters: Array, shape: tuple[int, ...], axis: int, block: int) -> Array:
    """Scales or zero points, so that they broadcast against a tensor of this shape."""
    if parameters.size == 1:
        return parameters.reshape([1] * len(shape))
    if parameters.ndim == len(shape) and block:
        return np.repeat(parameters, block, axis).take(range(shape[axis]), axis)
    sizes = [1] * len(shape)
    sizes[axis] = -1
    return parameters.reshape(sizes)


def _dequantise_integer_products(model: onnx.ModelProto) -> None:
    """ConvInteger and MatMulInteger between DynamicQuantizeLinear and the products that rescale: back to Conv
    and MatMul, whose kernel takes the constant factors.
    """
    made_by, read_by, constants = producers(model), consumers(model), initializers(model)
    for node in model.graph.node:
        if node.op_type not in ("ConvInteger", "MatMulInteger"):
            continue
        source, held = made_by.get(node.input[0]), [name in constants for name in node.input]
        if source is None or source.op_type != "DynamicQuantizeLinear" or held[:2] != [False, True]:
            _refuse_product(node, "it reads no codes of DynamicQuantizeLinear and a constant kernel")
        if len(held) < 3 or node.input[2] != source.output[2] or not all(held[3:]):
            _refuse_product(node, "its zero points are not those of its operands")
        last, scale = _rescaling(node, source.output[1], (made_by, read_by, constants))
        codes, convolution = constants[node.input[1]], node.op_type == "ConvInteger"
        zero = constants[node.input[3]] if len(held) > 3 else np.zeros((), codes.dtype)
        name = node.input[1].removesuffix("_quantized")
        axis = 0 if convolution else codes.ndim - 1
        set_initializer(model, name, dequantise(codes, scale.reshape(-1), zero, axis))
        node.op_type = "Conv" if convolution else "MatMul"
        node.name = node.name.removesuffix("_quant")
        del node.input[:]
        node.input.extend([source.input[0], name])
        node.output[0] = last.output[0]
        last.output[0] += ".unread"


Views = tuple[dict[str, onnx.NodeProto], dict[str, list[onnx.NodeProto]], Mapping[str, Array]]


def _rescaling(node: onnx.NodeProto, dynamic: str, views: Views) -> tuple[onnx.NodeProto, Array]:
    """The product that brings the operand's scale, `dynamic`, in, and the constant factors until there."""
    made_by, read_by, constants = views
    scale: Array = np.ones((), np.float32)
    last = node
    readers = read_by[node.output[0]]
    while len(readers) == 1 and readers[0].op_type in ("Cast", "Mul"):
        before, last = last.output[0], readers[0]
        readers = read_by[last.output[0]]
        if last.op_type == "Cast":
            continue
        (factor,) = [name for name in last.input if name != before] or [before]
        maker = made_by.get(factor)
        pair = list(maker.input) if maker is not None and maker.op_type == "Mul" else [factor]
        known = [constants[name] for name in pair if name in constants]
        for each in known:
            scale = scale * each
        if dynamic in pair:
            return last, np.asarray(scale, np.float32)
        if len(known) != len(pair):
            break
    return _refuse_product(node, "what follows does not multiply it by the scales of its operands")


def _refuse_product(node: onnx.NodeProto, why: str) -> NoReturn:
    raise UnsupportedModelError(
        f"node {node.name or node.output[0]!r} ({node.op_type}): {why}; "
        "quantise it with onnxruntime.quantization.quantize_dynamic, or export it in float32"
    )


def _drop_activation_quantisation(model: onnx.ModelProto) -> None:
    constants, renamed = initializers(model), dict[str, str]()
    kept = []
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
        if node.op_type == "DynamicQuantizeLinear":
            renamed[node.output[0]] = node.input[0]
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.input[0] not in constants:
            renamed[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    replace_nodes(model, kept)
    _keep_output_names(model, renamed)


def _keep_output_names(model: onnx.ModelProto, renamed: dict[str, str]) -> None:
    """Where an output's last node was dropped, the node before it now writes the output."""
    for output in model.graph.output:
        inner = renamed.get(output.name)
        if inner is None:
            continue
        for node in model.graph.node:
            node.input[:] = [output.name if name == inner else name for name in node.input]
            node.output[:] = [output.name if name == inner else name for name in node.output]


def _fold_constants(model: onnx.ModelProto) -> None:
    """Compute what DequantizeLinear, Cast and Reshape make of constants."""
    constants, kept = initializers(model), []
    for node in model.graph.node:
        known = [name in constants for name in node.input]
        if node.op_type not in ("DequantizeLinear", "Cast", "Reshape") or not all(known):
            kept.append(node)
            continue
        set_initializer(model, node.output[0], _evaluate(node, [constants[name] for name in node.input]))
        constants = initializers(model)
    replace_nodes(model, kept)


def _evaluate(node: onnx.NodeProto, operands: list[Array]) -> Array:
    if node.op_type == "DequantizeLinear":
        zero = operands[2] if len(operands) > 2 else np.zeros((), np.float32)
        return dequantise(operands[0], operands[1], zero, attributes(node).get("axis", 1))
    if node.op_type == "Reshape":
        return operands[0].reshape(operands[1])
    return operands[0].astype(onnx.helper.tensor_dtype_to_np_dtype(attributes(node)["to"]))


def _drop_unread_nodes(model: onnx.ModelProto) -> None:
    outputs = {output.name for output in model.graph.output}
    while True:
        read = outputs | {name for node in model.graph.node for name in node.input}
        kept = [node for node in model.graph.node if any(name in read for name in node.output)]
        if len(kept) == len(model.graph.node):
            return
        replace_nodes(model, kept)
