"""In which number format a model computes, and the way back to plain float32."""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import numpy as np
import onnx
from onnx.numpy_helper import to_array

from edgepress.graph.codes import code_limits, dequantise
from edgepress.graph.dynamic_codes import dequantise_integer_products, refuse_other_readers
from edgepress.graph.renaming import rename_reads
from edgepress.graph.stored_codes import has_four_bits, stored_codes, with_dequantize
from edgepress.graph.ties import without_raised_halves
from edgepress.graph.view import (
    Array,
    attributes,
    copy,
    initializers,
    operands,
    producers,
    remove_unused_initializers,
    replace_nodes,
    set_initializer,
)

NumberFormat = Literal["float32", "fp16", "dynamic", "int8", "int16x8", "int8_weights", "int4_weights"]


INTEGERS: Mapping[str, str] = {"int8": "int8", "int4_weights": "int8", "int16x8": "int16"}
"""The number formats whose activations are integers, and of which type a `.tflite` takes and gives these."""


def number_format(model: onnx.ModelProto) -> NumberFormat:
    """Read from the graph itself, so that no file needs to come with its configuration."""
    ops, wide = {node.op_type for node in model.graph.node}, _wide_codes(model)
    if any(node.op_type == "QuantizeLinear" and not wide(node) for node in model.graph.node):
        return "int4_weights" if has_four_bits(model) else "int8"
    if _symmetric_words(model) and stored_codes(model):
        return "int16x8"
    if "DynamicQuantizeLinear" in ops:
        return "dynamic"
    float16 = any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer)
    if float16 or not stored_codes(model):
        return "fp16" if float16 else "float32"
    return "int8_weights"


def _symmetric_words(model: onnx.ModelProto) -> bool:
    """Whether activations are codes of int16 with zero point 0, as TFLite has them, and none are others."""
    zeros = {t.name: t for t in model.graph.initializer if t.data_type in _WORDS}
    found = [
        zeros[node.input[2]].data_type == onnx.TensorProto.INT16 and not to_array(zeros[node.input[2]]).any()
        if len(node.input) > 2 and node.input[2] in zeros
        else attributes(node).get("output_dtype") == onnx.TensorProto.INT16
        for node in model.graph.node
        if node.op_type == "QuantizeLinear"
    ]
    return bool(found) and all(found)


_WORDS = (onnx.TensorProto.INT16, onnx.TensorProto.UINT16)


def _wide_codes(model: onnx.ModelProto) -> Callable[[onnx.NodeProto], bool]:
    """Whether a QuantizeLinear makes codes of 16 bits, which say nothing of the kernels that read them."""
    words = {tensor.name for tensor in model.graph.initializer if tensor.data_type in _WORDS}
    return lambda node: (
        attributes(node).get("output_dtype") in _WORDS or any(name in words for name in node.input[2:])
    )


def to_float(model: onnx.ModelProto, keep_codes: bool = False) -> onnx.ModelProto:
    """The same network with float32 constants, its weights as the format stores them, and no rounding of
    activations.

    With `keep_codes` weights that are codes stay so, behind DequantizeLinear.

    Raises:
        UnsupportedModelError: codes that DynamicQuantizeLinear makes are read by more than products of codes.
    """
    restored = with_dequantize(without_raised_halves(model))
    dequantise_integer_products(restored)
    _drop_unread_nodes(restored)
    refuse_other_readers(restored)
    _drop_activation_quantisation(restored)
    _fold_constants(restored, ("Cast", "Reshape") if keep_codes else ("DequantizeLinear", "Cast", "Reshape"))
    _drop_unread_nodes(restored)
    remove_unused_initializers(restored)
    return restored


def restore_activations(plain: onnx.ModelProto, quantised: onnx.ModelProto) -> onnx.ModelProto:
    """Put the Relu and Relu6 back that onnxruntime left out of an int8 model because its ranges clip alike.

    `plain` is `to_float(quantised)`. A tensor whose codes begin at 0 and cannot be negative gets a Relu;
    where they also end at 6, a Clip. Other Clips are noted where they were, see `note_clip`.
    """
    bounds, noted = _clipping_ranges(quantised), dict(_noted_clips(quantised))
    restored, nodes = copy(plain), []
    for node in restored.graph.node:
        nodes.append(node)
        name = node.output[0]
        if name in noted or (name in bounds and node.op_type in _SIGNED):
            node.output[0] = f"{name}.unclipped"
            if name in noted:
                nodes.append(_between(restored, node.output[0], name, *noted[name]))
            else:
                nodes.append(_clip(restored, node.output[0], name, bounds[name]))
    replace_nodes(restored, nodes)
    return restored


_SIGNED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Sub", "Mul", "Div", "BatchNormalization")
_SIX = 6.0


_NOTE = "clips to "


def note_clip(quantise: onnx.NodeProto, low: float, high: float) -> None:
    """Say at a QuantizeLinear, in place, of which Clip that was left out its codes take the place."""
    quantise.doc_string = f"{_NOTE}{low!r} {high!r}"


def _noted_clips(model: onnx.ModelProto) -> Iterator[tuple[str, tuple[float, float]]]:
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.doc_string.startswith(_NOTE):
            low, high = map(float, node.doc_string.removeprefix(_NOTE).split())
            yield node.input[0].removesuffix("_QuantizeLinear_Input"), (low, high)


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
    return _between(model, source, target, 0.0, _SIX)


def _between(model: onnx.ModelProto, source: str, target: str, low: float, high: float) -> onnx.NodeProto:
    for bound, value in (("low", low), ("high", high)):
        set_initializer(model, f"{target}.{bound}", np.array(value, np.float32))
    return onnx.helper.make_node(
        "Clip", [source, f"{target}.low", f"{target}.high"], [target], f"{target}.clip"
    )


def _drop_activation_quantisation(model: onnx.ModelProto) -> None:
    """Leave out what makes codes of activations and numbers of codes; 16 bits still clip to their range."""
    constants, renamed, wide = initializers(model), dict[str, str](), _wide_codes(model)
    kept, makers = [], producers(model)
    quantised = {n.name or n.output[0] for n in model.graph.node if _is_of_codes(n, makers)}
    for node in model.graph.node:
        rename_reads(node, renamed)
        quantises = node.op_type == "QuantizeLinear" and node.input[0] not in constants
        if node.op_type == "DynamicQuantizeLinear":
            renamed[node.output[0]] = node.input[0]
        if quantises and wide(node):
            kept.append(_clipped_to_codes(model, node, constants))
        elif quantises or (node.name or node.output[0]) in quantised:
            renamed[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    replace_nodes(model, kept)
    _keep_output_names(model, renamed)


def _is_of_codes(node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto]) -> bool:
    """Whether it dequantises what a quantisation made, perhaps moved since; no other integers."""
    if node.op_type != "DequantizeLinear":
        return False
    maker = makers.get(node.input[0])
    while maker is not None and maker.op_type not in ("QuantizeLinear", "DynamicQuantizeLinear"):
        maker = makers.get(maker.input[0]) if maker.op_type != "Cast" and maker.input else None
    return maker is not None


def _clipped_to_codes(
    model: onnx.ModelProto, node: onnx.NodeProto, constants: Mapping[str, Array]
) -> onnx.NodeProto:
    """A Clip to the numbers that the lowest and the highest code of a QuantizeLinear stand for."""
    scale = constants[node.input[1]]
    if len(node.input) > 2:
        zero = constants[node.input[2]]
    else:
        unsigned = attributes(node).get("output_dtype") == onnx.TensorProto.UINT16
        zero = np.zeros((), "uint16" if unsigned else "int16")
    bounds = [f"{node.output[0]}.{end}" for end in ("low", "high")]
    for name, code in zip(bounds, code_limits(zero.dtype), strict=True):
        set_initializer(model, name, dequantise(np.array(code, np.int64), scale, zero, 0))
    return onnx.helper.make_node("Clip", [node.input[0], *bounds], node.output[:1], node.name)


def _keep_output_names(model: onnx.ModelProto, renamed: dict[str, str]) -> None:
    """Where an output's last node was dropped, the node before it now writes the output.

    An Identity does where no node is before it, or that writes another output.
    """
    made, written = {name for node in model.graph.node for name in node.output}, dict[str, str]()
    outputs = {output.name for output in model.graph.output}
    for output in model.graph.output:
        inner = renamed.get(output.name)
        if inner is None:
            continue
        if inner not in made or inner in outputs or inner in written:
            source = written.get(inner, inner)
            model.graph.node.append(onnx.helper.make_node("Identity", [source], [output.name], output.name))
            continue
        written[inner] = output.name
        for node in model.graph.node:
            rename_reads(node, {inner: output.name})
            node.output[:] = [output.name if name == inner else name for name in node.output]


def _fold_constants(model: onnx.ModelProto, operators: tuple[str, ...]) -> None:
    """Compute what these operators, of DequantizeLinear, Cast and Reshape, make of constants."""
    constants, kept = initializers(model), []
    for node in model.graph.node:
        known = [name in constants for name in node.input]
        if node.op_type not in operators or not all(known):
            kept.append(node)
            continue
        set_initializer(model, node.output[0], _evaluate(node, [constants[name] for name in node.input]))
        constants = initializers(model)
    replace_nodes(model, kept)


def _evaluate(node: onnx.NodeProto, operands: list[Array]) -> Array:
    if node.op_type == "DequantizeLinear":
        zero, given = operands[2] if len(operands) > 2 else np.zeros((), np.float32), attributes(node)
        return dequantise(operands[0], operands[1], zero, given.get("axis", 1), given.get("block_size", 0))
    if node.op_type == "Reshape":
        return operands[0].reshape(operands[1])
    return operands[0].astype(onnx.helper.tensor_dtype_to_np_dtype(attributes(node)["to"]))


def _drop_unread_nodes(model: onnx.ModelProto) -> None:
    outputs = {output.name for output in model.graph.output}
    while True:
        read = outputs | {name for node in model.graph.node for name in operands(node)}
        kept = [node for node in model.graph.node if any(name in read for name in node.output)]
        if len(kept) == len(model.graph.node):
            return
        replace_nodes(model, kept)
