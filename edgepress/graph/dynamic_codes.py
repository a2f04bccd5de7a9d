"""Codes that are made as the network runs: DynamicQuantizeLinear, and products of what it makes."""

from collections.abc import Iterator, Mapping
from typing import NoReturn

import numpy as np
import onnx

from edgepress.errors import UnsupportedModelError
from edgepress.graph.view import Array, consumers, initializers, producers, replace_nodes, set_initializer


def dequantise_integer_products(model: onnx.ModelProto) -> None:
    """ConvInteger and MatMulInteger between DynamicQuantizeLinear and the products that rescale: back to Conv
    and MatMul, whose kernel is dequantised with the constant factors.
    """
    dequantisers = list[onnx.NodeProto]()
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
        name = f"{node.output[0]}.{name}" if name in initializers(model) else name
        axis = 0 if convolution else codes.ndim - 1
        dequantisers.append(_dequantiser(model, name, (codes, scale.reshape(-1), zero), axis))
        node.op_type = "Conv" if convolution else "MatMul"
        node.name = node.name.removesuffix("_quant")
        del node.input[:]
        node.input.extend([source.input[0], name])
        node.output[0] = last.output[0]
        last.output[0] += ".unread"
    replace_nodes(model, [*dequantisers, *model.graph.node])


def _dequantiser(
    model: onnx.ModelProto, name: str, constants: tuple[Array, Array, Array], axis: int
) -> onnx.NodeProto:
    """DequantizeLinear of codes, scales and zero points, along an axis if several; `name` is the result's."""
    codes, scale, zero = constants
    zeros = np.broadcast_to(zero.reshape(-1), scale.shape).astype(codes.dtype)
    shape = scale.shape if scale.size > 1 else ()
    parts = {"codes": codes, "scale": scale.reshape(shape), "zero_point": zeros.reshape(shape)}
    for part, values in parts.items():
        set_initializer(model, f"{name}.{part}", values)
    inputs = [f"{name}.{part}" for part in parts]
    return onnx.helper.make_node("DequantizeLinear", inputs, [name], f"{name}.dequantised", axis=axis)


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


_MOVING = (
    "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Gather",
    "MaxPool", "Expand", "Tile", "DepthToSpace", "SpaceToDepth", "ReduceMax", "ReduceMin",
)  # fmt: skip
"""What does the same to codes and to the numbers that they stand for."""


def refuse_other_readers(model: onnx.ModelProto) -> None:
    """Make sure that what DynamicQuantizeLinear makes is dequantised again and read by nothing else.

    Raises:
        UnsupportedModelError: another node computes with its codes, its scale or its zero point.
    """
    read_by, outputs = consumers(model), {output.name for output in model.graph.output}
    for node in model.graph.node:
        if node.op_type != "DynamicQuantizeLinear":
            continue
        back = list(_dequantisers(node.output[0], read_by))
        strangers = [reader for reader in back if list(reader.input[1:]) != list(node.output[1:])]
        strangers += [each for name in node.output[1:] for each in read_by[name] if each not in back]
        if strangers:
            each = strangers[0]
            _refuse_product(
                node, f"node {each.name or each.output[0]!r} ({each.op_type}) reads what it makes"
            )
        if given := outputs.intersection(node.output):
            _refuse_product(node, f"its {sorted(given)[0]!r} is an output of the network")


def _dequantisers(codes: str, read_by: Mapping[str, list[onnx.NodeProto]]) -> Iterator[onnx.NodeProto]:
    """The readers of the codes behind whatever moves them."""
    for reader in read_by[codes]:
        if reader.op_type in _MOVING and reader.input[0] == codes:
            for name in reader.output:
                yield from _dequantisers(name, read_by)
        else:
            yield reader
