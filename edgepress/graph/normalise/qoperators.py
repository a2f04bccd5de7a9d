"""Operators that compute with codes, as float operators between DequantizeLinear and QuantizeLinear.

ONNX Runtime's QOperator format has them, of ONNX itself (QLinearConv, ConvInteger …) and of its own domain
(https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md). Both forms compute the same.
"""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgepress.graph.constants import constants_as_initializers
from edgepress.graph.normalise.microsoft_pairs import take_pair
from edgepress.graph.normalise.pair_writer import AXES, PairWriter, present, refuse_node, turned
from edgepress.graph.view import attributes, replace_nodes, set_initializer

_AXES_AS_INPUT = 18
"""From this opset on ReduceMean takes its axes as an operand."""

_ONE_OPERAND = {
    "QLinearSigmoid": "Sigmoid", "QLinearLeakyRelu": "LeakyRelu", "QLinearAveragePool": "AveragePool",
    "QLinearGlobalAveragePool": "GlobalAveragePool", "QLinearSoftmax": "Softmax",
}  # fmt: skip
_TWO_OPERANDS = {"QLinearAdd": "Add", "QLinearMul": "Mul"}
_PRODUCTS = {"ConvInteger": "Conv", "MatMulInteger": "MatMul"}
_MOVING = (
    "MaxPool", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Gather",
    "Identity", "Tile", "Expand", "DepthToSpace", "SpaceToDepth",
)  # fmt: skip
"""What only moves or picks codes does the same to the numbers that they stand for."""


def write_as_pairs(model: onnx.ModelProto) -> None:
    """Rewrite such operators, in place; a model without them stays as it is.

    Raises:
        UnsupportedModelError: one has a form that is not taken, in one line with its node.
    """
    if not any(_is_known(node) for node in model.graph.node):
        return
    model.CopyFrom(constants_as_initializers(model))
    writer = PairWriter(model)
    for node in model.graph.node:
        _take(writer, node)
    replace_nodes(model, writer.nodes)
    for domain in [each for each in model.opset_import if each.domain == "com.microsoft"]:
        if not any(node.domain == domain.domain for node in model.graph.node):
            model.opset_import.remove(domain)


def _is_known(node: onnx.NodeProto) -> bool:
    if node.domain == "com.microsoft":
        return node.op_type in _WRITERS
    return node.op_type in ("QLinearConv", "QLinearMatMul", *_PRODUCTS)


def _take(writer: PairWriter, node: onnx.NodeProto) -> None:
    """Write a node, or what stands for it."""
    if _is_known(node) and not (writer.dynamic and node.op_type in _PRODUCTS):
        try:
            _WRITERS[node.op_type](writer, node)
        except (LookupError, ValueError, TypeError):
            refuse_node(node, "its operands are not those of the operator")
    elif node.op_type in _MOVING and node.input[0] in writer.codes:
        writer.move(node)
    else:
        if node.op_type == "QuantizeLinear" and len(node.input) == 3:
            writer.codes[node.output[0]] = (node.input[1], node.input[2])
        writer.nodes.append(node)


def _conv(writer: PairWriter, node: onnx.NodeProto) -> None:
    given, operands = attributes(node), [writer.numbers(node, 0), writer.numbers(node, 3, 0)]
    bias = writer.bias(node, 8, 1.0, node.input[1], node.input[4])
    last = given.pop("channels_last", 0)
    if last:
        operands[0] = turned(writer, operands[0], writer.known[node.input[3]].ndim)
    writer.result(node, "Conv", [*operands, *bias], 6, bool(last), **given)


def _matmul(writer: PairWriter, node: onnx.NodeProto) -> None:
    writer.result(node, "MatMul", [writer.numbers(node, 0), writer.numbers(node, 3, 1)], 6)


def _gemm(writer: PairWriter, node: onnx.NodeProto) -> None:
    given = attributes(node)
    operands = [writer.numbers(node, 0), writer.numbers(node, 3, 0 if given.get("transB", 0) else 1)]
    bias = writer.bias(node, 6, given.get("alpha", 1.0), node.input[1], node.input[4])
    writer.result(node, "Gemm", [*operands, *bias], 7, **given)


def _integer(writer: PairWriter, node: onnx.NodeProto) -> None:
    """A product of codes less their zero points, which is whole; its scale follows in other nodes."""
    one, output = f"{node.output[0]}.one", node.output[0]
    zeros = [node.input[i] if i < len(node.input) else "" for i in (2, 3)]
    if any(zero and (zero not in writer.known or writer.known[zero].size > 1) for zero in zeros):
        writer.nodes.append(node)  # which `edgepress.translate.written.codes` writes out
        return
    set_initializer(writer.model, one, np.array(1, np.float32))
    operands = [
        writer.add("DequantizeLinear", present(node.input[i], one, zeros[i]), f"{output}.of{i}")
        for i in (0, 1)
    ]
    plain = writer.add(_PRODUCTS[node.op_type], operands, f"{output}.plain", node.name, **attributes(node))
    writer.add("Cast", [plain], output, to=TensorProto.INT32)


def _one_operand(writer: PairWriter, node: onnx.NodeProto) -> None:
    given, operand = attributes(node), writer.numbers(node, 0)
    last = bool(given.pop("channels_last", 0))
    if last:
        operand = turned(writer, operand, len(given.get("kernel_shape", (0, 0))) + 2)
    if node.op_type == "QLinearSoftmax" and given.pop("opset", 13) < AXES and given.get("axis", -1) != -1:
        refuse_node(node, "it is that of an opset before 13 and not over the last axis")
    writer.result(node, _ONE_OPERAND[node.op_type], [operand], 3, last, **given)


def _two_operands(writer: PairWriter, node: onnx.NodeProto) -> None:
    writer.result(node, _TWO_OPERANDS[node.op_type], [writer.numbers(node, 0), writer.numbers(node, 3)], 6)


def _where(writer: PairWriter, node: onnx.NodeProto) -> None:
    writer.result(node, "Where", [node.input[0], writer.numbers(node, 1), writer.numbers(node, 4)], 7)


def _mean(writer: PairWriter, node: onnx.NodeProto) -> None:
    given, operands = attributes(node), [writer.numbers(node, 0)]
    if writer.version >= _AXES_AS_INPUT and "axes" in given:
        operands.append(f"{node.output[0]}.axes")
        set_initializer(writer.model, operands[1], np.array(given.pop("axes"), np.int64))
    writer.result(node, "ReduceMean", operands, 3, **given)


def _integer_to_float(writer: PairWriter, node: onnx.NodeProto) -> None:
    """A product of codes whose scales, and a bias, follow at once."""
    output, bias = node.output[0], node.input[6] if len(node.input) > 6 else ""
    if node.input[2] in writer.known:
        numbers = [writer.dequantised(node, (0, 2, 4)), writer.dequantised(node, (1, 3, 5), 1)]
        product = writer.add("MatMul", numbers, f"{output}.product" if bias else output, node.name)
    else:
        product = _rescaled(writer, node, [node.input[i] for i in (0, 1, 4, 5) if i < len(node.input)],
                            node.input[2], node.input[3], bias)  # fmt: skip
    if bias:
        writer.add("Add", [product, bias], output)


def _dynamic_product(writer: PairWriter, node: onnx.NodeProto) -> None:
    """A product with a kernel in codes; the other operand is quantised as the network runs."""
    output, (zero, bias) = node.output[0], (*node.input[3:], "", "")[:2]
    made = [f"{output}.{part}" for part in ("codes", "scale", "zero")]
    writer.nodes.append(helper.make_node("DynamicQuantizeLinear", [node.input[0]], made, made[0]))
    operands = [made[0], node.input[1], made[2], zero]
    product = _rescaled(writer, node, operands, made[1], node.input[2], bias)
    if bias:
        writer.add("Add", [product, bias], output)


def _dynamic_lstm(writer: PairWriter, node: onnx.NodeProto) -> None:
    """An LSTM whose weights are codes, turned: with the numbers that they stand for."""
    operands = list(node.input[:8])
    for place, scale in ((1, 8), (2, 10)):
        codes, factors, zeros = (writer.constant(node, node.input[i]) for i in (place, scale, scale + 1))
        shape = (len(codes), 1, -1)
        numbers = codes.astype(np.float32) - zeros.astype(np.float32).reshape(shape)
        operands[place] = f"{node.output[0]}.of{place}"
        turned_back = np.ascontiguousarray((numbers * factors.reshape(shape)).transpose(0, 2, 1))
        set_initializer(writer.model, operands[place], turned_back)
    while not operands[-1]:
        operands.pop()
    writer.nodes.append(helper.make_node("LSTM", operands, node.output, node.name, **attributes(node)))


def _rescaled(
    writer: PairWriter, node: onnx.NodeProto, operands: list[str], scale: str, kernel_scale: str, bias: str
) -> str:
    """The product of codes times both scales, named as the node's output unless a bias follows."""
    output = node.output[0]
    while operands and not operands[-1]:
        operands.pop()
    whole = writer.add("MatMulInteger", operands, f"{output}.whole", node.name)
    numbers = writer.add("Cast", [whole], f"{output}.numbers", to=TensorProto.FLOAT)
    scales = writer.add("Mul", [scale, kernel_scale], f"{output}.scales")
    return writer.add("Mul", [numbers, scales], f"{output}.product" if bias else output)


def _concat(writer: PairWriter, node: onnx.NodeProto) -> None:
    operands = [writer.numbers(node, index) for index in range(2, len(node.input), 3)]
    plain = writer.add("Concat", operands, f"{node.output[0]}.plain", node.name, **attributes(node))
    writer.quantise(plain, node.output[0], node.input[0], node.input[1])


def _own_pair(writer: PairWriter, node: onnx.NodeProto) -> None:
    take_pair(writer, node, _is_known)


_WRITERS: dict[str, Callable[[PairWriter, onnx.NodeProto], None]] = {
    "QLinearConv": _conv,
    "QLinearMatMul": _matmul,
    "QGemm": _gemm,
    "QLinearConcat": _concat,
    "QLinearWhere": _where,
    "QLinearReduceMean": _mean,
    "MatMulIntegerToFloat": _integer_to_float,
    "DynamicQuantizeMatMul": _dynamic_product,
    "DynamicQuantizeLSTM": _dynamic_lstm,
    **dict.fromkeys(_PRODUCTS, _integer),
    **dict.fromkeys(_ONE_OPERAND, _one_operand),
    **dict.fromkeys(_TWO_OPERANDS, _two_operands),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _own_pair),
}
