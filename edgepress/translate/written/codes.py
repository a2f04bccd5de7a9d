"""Quantisation by scales that are computed, or given for blocks, written out in arithmetic."""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgepress.graph.view import attributes
from edgepress.translate.written.body import Body, Writer


def is_special(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether its scale or zero point is computed, or there is one for each block."""
    return bool(attributes(node).get("block_size", 0)) or any(
        name and name not in constants for name in node.input[1:3]
    )


def _for_each(b: Body, index: int) -> str:
    """A scale or zero point for each element of an axis, or of each block of one, spread over the tensor."""
    shape, own = b.shape(), b.shape(index)
    axis, block = b.attributes.get("axis", 1) % max(len(shape), 1), b.attributes.get("block_size", 0)
    if block:
        places = np.arange(shape[axis] or 0) // block
        return b("Gather", b.inputs[index], places.astype(np.int64), axis=axis)
    if own in ((), (1,)):
        return str(b.inputs[index])
    behind = np.array([-1] + [1] * (len(shape) - axis - 1), np.int64)
    return b("Reshape", b.inputs[index], behind)


def _quantize(b: Body) -> None:
    """round(x/scale) + zero point, saturated; halves to even."""
    kind = b.type(2) if b.has(2) else b.attributes.get("output_dtype", 0) or TensorProto.UINT8
    limits = np.iinfo(helper.tensor_dtype_to_np_dtype(kind))
    codes = b("Round", b("Div", b.inputs[0], _for_each(b, 1)))
    if b.has(2):
        codes = b("Add", codes, b("Cast", _for_each(b, 2), to=TensorProto.FLOAT))
    b.gives("Cast", b("Clip", codes, np.float32(limits.min), np.float32(limits.max)), to=kind)


def _dequantize(b: Body) -> None:
    """(code − zero point)·scale."""
    codes = b("Cast", b.inputs[0], to=TensorProto.FLOAT)
    if b.has(2):
        codes = b("Sub", codes, b("Cast", _for_each(b, 2), to=TensorProto.FLOAT))
    b.gives("Mul", codes, _for_each(b, 1))


def _product(b: Body) -> None:
    """Of codes less their zero points, which are whole numbers: floats hold sums of them up to 2²⁴."""
    operands = []
    for index in (0, 1):
        number = b("Cast", b.inputs[index], to=TensorProto.FLOAT)
        if b.has(index + 2):
            zero = b("Cast", b.inputs[index + 2], to=TensorProto.FLOAT)
            if b.shape(index + 2) not in ((), (1,)):
                zero = _beside(b, zero, index)
            number = b("Sub", number, zero)
        operands.append(number)
    kept = {} if b.op == "MatMulInteger" else b.attributes
    made = b("MatMul" if b.op == "MatMulInteger" else "Conv", *operands, **kept)
    b.gives("Cast", made, to=TensorProto.INT32)


def _beside(b: Body, zero: str, index: int) -> str:
    """Zero points of the rows of the left, of the columns of the right, or of a kernel's outputs."""
    rank, own = len(b.shape(index)), len(b.shape(index + 2))
    if own > 1 or (b.op == "MatMulInteger" and index == 1):
        return zero
    behind = [1] * (rank - 1) if b.op == "ConvInteger" else [1]
    return b("Reshape", zero, np.array([-1, *behind], np.int64))


WRITERS: dict[str, Writer] = {
    "ConvInteger": _product,
    "MatMulInteger": _product,
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
}
