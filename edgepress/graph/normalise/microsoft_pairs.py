"""QuantizeLinear and DequantizeLinear of ONNX Runtime's own domain, from before ONNX had 16 and 4 bits."""

from collections.abc import Callable

import numpy as np
import onnx

from edgepress.graph.codes import code_limits, dequantise
from edgepress.graph.normalise.pair_writer import PairWriter, refuse_node
from edgepress.graph.view import Array, attributes, set_initializer

_WORDS = 21
"""From this opset on ONNX's own QuantizeLinear knows 16 bits, and 4, and scales of blocks."""

_NIBBLES = {"int4": np.int8, "uint4": np.uint8}
"""Types of 4 bits, and those of 8 that hold their codes."""


def take_pair(writer: PairWriter, node: onnx.NodeProto, is_known: Callable[[onnx.NodeProto], bool]) -> None:
    """QuantizeLinear and DequantizeLinear of that domain.

    Before ONNX had such, 16 bits are floats, 4 bits are 8 of which few are taken, and kernels of which blocks
    have scales are numbers.
    """
    zero = (
        writer.constant(node, node.input[2])
        if len(node.input) > 2 and node.input[2]
        else np.zeros((), np.uint8)
    )
    if writer.version < _WORDS and attributes(node).get("block_size", 0):
        _blocks(writer, node, zero)
        return
    if writer.version < _WORDS and zero.dtype.name in _NIBBLES:
        _nibbles(writer, node, zero)
        return
    if zero.dtype.name not in ("int16", "uint16") or writer.version >= _WORDS:
        made = onnx.NodeProto()
        made.CopyFrom(node)
        made.domain = ""
        if node.op_type == "QuantizeLinear" and len(node.input) == 3:
            writer.codes[node.output[0]] = (node.input[1], node.input[2])
        writer.nodes.append(made)
        return
    scale, source = writer.constant(node, node.input[1]), node.input[0]
    quantises = node.op_type == "QuantizeLinear"
    if scale.size > 1 or (quantises and not all(map(is_known, writer.readers[node.output[0]]))):
        refuse_node(node, "codes of 16 bits that other nodes read, or with several scales")
    if quantises:
        bounds = []
        for code in code_limits(zero.dtype):
            bounds.append(f"{node.output[0]}.at{code}")
            set_initializer(
                writer.model, bounds[-1], ((code - zero.astype(np.float64)) * scale).astype(np.float32)
            )
        writer.add("Clip", [source, *bounds], node.output[0], node.name)
    elif source in writer.known:
        values = (writer.known[source].astype(np.float32) - zero.astype(np.float32)) * scale
        set_initializer(writer.model, node.output[0], values.astype(np.float32))
    else:
        writer.add("Identity", [source], node.output[0], node.name)


def _blocks(writer: PairWriter, node: onnx.NodeProto, zero: Array) -> None:
    """A constant kernel as the numbers that its codes stand for."""
    if node.op_type != "DequantizeLinear":
        refuse_node(node, "what is computed is quantised in blocks")
    given = attributes(node)
    codes, scale = writer.constant(node, node.input[0]), writer.constant(node, node.input[1])
    values = dequantise(codes, scale, zero, given.get("axis", 1) % codes.ndim, given["block_size"])
    set_initializer(writer.model, node.output[0], values)


def _nibbles(writer: PairWriter, node: onnx.NodeProto, zero: Array) -> None:
    held, names = _NIBBLES[zero.dtype.name], list(node.input)
    names[2] = f"{node.output[0]}.zero"
    set_initializer(writer.model, names[2], zero.astype(held))
    if names[0] in writer.known:
        names[0] = f"{node.output[0]}.held"
        set_initializer(writer.model, names[0], writer.known[node.input[0]].astype(held))
    elif node.op_type == "QuantizeLinear":
        scale = writer.constant(node, names[1])
        if scale.size > 1:
            refuse_node(node, "an activation of 4 bits with several scales")
        ends = [(code - zero.astype(np.float64)) * scale for code in code_limits(zero.dtype)]
        bounds = [f"{node.output[0]}.{side}" for side in ("low", "high")]
        for name, end in zip(bounds, ends, strict=True):
            set_initializer(writer.model, name, end.astype(np.float32).reshape(()))
        names[0] = writer.add("Clip", [names[0], *bounds], f"{node.output[0]}.clipped")
        writer.codes[node.output[0]] = (names[1], names[2])
    writer.add(node.op_type, names, node.output[0], node.name, **attributes(node))
