"""Operators that compute with codes, as float operators between DequantizeLinear and QuantizeLinear.

ONNX Runtime's QOperator format has them, of ONNX itself (QLinearConv, ConvInteger …) and of its own domain
(https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md). Both forms compute the same.
"""

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgepress.graph.codes import code_limits, dequantise
from edgepress.graph.constants import constants_as_initializers
from edgepress.graph.normalise.limits import refuse
from edgepress.graph.normalise.structure import opset
from edgepress.graph.view import Array, attributes, consumers, initializers, replace_nodes, set_initializer

_AXES = 13
"""From this opset on DequantizeLinear knows several scales."""

_WORDS = 21
"""From this opset on ONNX's own QuantizeLinear knows 16 bits, and 4, and scales of blocks."""

_AXES_AS_INPUT = 18
"""From this opset on ReduceMean takes its axes as an operand."""

_NIBBLES = {"int4": np.int8, "uint4": np.uint8}
"""Types of 4 bits, and those of 8 that hold their codes."""

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

Codes = tuple[str, str]
"""The names of the scale and zero point of a tensor of codes."""


def write_as_pairs(model: onnx.ModelProto) -> None:
    """Rewrite such operators, in place; a model without them stays as it is.

    Raises:
        UnsupportedModelError: one has a form that is not taken, in one line with its node.
    """
    if not any(_is_known(node) for node in model.graph.node):
        return
    model.CopyFrom(constants_as_initializers(model))
    writer = _Writer(model)
    for node in model.graph.node:
        writer.take(node)
    replace_nodes(model, writer.nodes)
    for domain in [each for each in model.opset_import if each.domain == "com.microsoft"]:
        if not any(node.domain == domain.domain for node in model.graph.node):
            model.opset_import.remove(domain)


def _is_known(node: onnx.NodeProto) -> bool:
    if node.domain == "com.microsoft":
        return node.op_type in _WRITERS
    return node.op_type in ("QLinearConv", "QLinearMatMul", *_PRODUCTS)


class _Writer:
    """The nodes written so far, and of which tensors the scale is known."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model, self.known = model, initializers(model)
        self.nodes: list[onnx.NodeProto] = []
        self.codes: dict[str, Codes] = {}
        self.readers = consumers(model)
        self.version = opset(model)
        kinds = {node.op_type for node in model.graph.node}
        self.dynamic = not kinds.isdisjoint(("DynamicQuantizeLinear", "DynamicQuantizeMatMul"))

    def take(self, node: onnx.NodeProto) -> None:
        """Write a node, or what stands for it."""
        if _is_known(node) and not (self.dynamic and node.op_type in _PRODUCTS):
            try:
                _WRITERS[node.op_type](self, node)
            except (LookupError, ValueError, TypeError):
                _refuse(node, "its operands are not those of the operator")
        elif node.op_type in _MOVING and node.input[0] in self.codes:
            self._move(node)
        else:
            if node.op_type == "QuantizeLinear" and len(node.input) == 3:
                self.codes[node.output[0]] = (node.input[1], node.input[2])
            self.nodes.append(node)

    def add(self, op: str, inputs: Sequence[str], output: str, name: str = "", **attributes: object) -> str:
        """Write a node and give its output."""
        self.nodes.append(helper.make_node(op, inputs, [output], name or output, **attributes))
        return output

    def constant(self, node: onnx.NodeProto, name: str) -> Array:
        """A constant operand of a node."""
        if name not in self.known:
            _refuse(node, f"its operand {name!r} is computed" if name else "an operand is missing")
        return self.known[name]

    def numbers(self, node: onnx.NodeProto, index: int, axis: int | None = None) -> str:
        """The numbers that codes stand for, whose scale and zero point are the operands behind them."""
        return self.dequantised(node, (index, index + 1, index + 2), axis)

    def dequantised(self, node: onnx.NodeProto, places: tuple[int, int, int], axis: int | None = None) -> str:
        """The numbers of codes, their scale and zero point, which are these operands."""
        codes, scale, zero = (node.input[i] if i < len(node.input) else "" for i in places)
        output = f"{node.output[0]}.of{places[0]}"
        if self.constant(node, scale).size == 1:
            return self.add("DequantizeLinear", _given(codes, scale, zero), output)
        if axis is None:
            _refuse(node, f"its operand {codes!r} has several scales")
        if self.version >= _AXES:
            zeros = self._spread(node, scale, zero)
            return self.add("DequantizeLinear", _given(codes, scale, zeros), output, axis=axis)
        values = self.constant(node, codes).astype(np.float32)
        shape = [-1 if one == axis else 1 for one in range(values.ndim)]
        shift = self.constant(node, zero).astype(np.float32) if zero else np.zeros(1, np.float32)
        shift = shift.reshape(shape if shift.size > 1 else -1)
        set_initializer(self.model, output, (values - shift) * self.constant(node, scale).reshape(shape))
        return output

    def _spread(self, node: onnx.NodeProto, scale: str, zero: str) -> str:
        """A zero point for each scale, as DequantizeLinear wants it."""
        if not zero or self.constant(node, zero).size == self.known[scale].size:
            return zero
        spread = f"{node.output[0]}.zeros"
        set_initializer(
            self.model,
            spread,
            np.full(self.known[scale].shape, self.known[zero].item(), self.known[zero].dtype),
        )
        return spread

    def result(
        self,
        node: onnx.NodeProto,
        op: str,
        operands: Sequence[str],
        at: int,
        channels_last: bool = False,
        **given: Any,
    ) -> None:
        """The float operator and, if a scale and zero point stand at `at`, the codes of what it computes.

        With `channels_last` what it computes is turned back.
        """
        if len(node.input) <= at or not node.input[at]:
            self.add(op, operands, node.output[0], node.name, **given)
            return
        plain = self.add(op, operands, f"{node.output[0]}.plain", node.name, **given)
        if channels_last:
            plain = _turned(self, plain, len(given.get("kernel_shape", (0, 0))) + 2, back=True)
        self.quantise(
            plain, node.output[0], node.input[at], node.input[at + 1] if at + 1 < len(node.input) else ""
        )

    def quantise(self, plain: str, output: str, scale: str, zero: str) -> None:
        """The codes of a tensor."""
        self.add("QuantizeLinear", _given(plain, scale, zero), output)
        if zero:
            self.codes[output] = (scale, zero)

    def bias(self, node: onnx.NodeProto, index: int, factor: float, *scales: str) -> list[str]:
        """An int32 operand as floats: its scale is the product of those of the layer's operands."""
        if len(node.input) <= index or not node.input[index]:
            return []
        product = np.full(1, factor, np.float64)
        for scale in scales:
            product = product * self.constant(node, scale).astype(np.float64)
        name = f"{node.output[0]}.bias"
        set_initializer(
            self.model, name, (self.constant(node, node.input[index]) * product).astype(np.float32)
        )
        return [name]

    def _move(self, node: onnx.NodeProto) -> None:
        scale, zero = self.codes[node.input[0]]
        plain = self.add("DequantizeLinear", [node.input[0], scale, zero], f"{node.output[0]}.before")
        moved, outputs = onnx.NodeProto(), [name for name in node.output if name]
        moved.CopyFrom(node)
        moved.input[0] = plain
        moved.output[:] = [f"{name}.plain" if name else "" for name in node.output]
        self.nodes.append(moved)
        for name in outputs[: 1 if node.op_type == "MaxPool" else None]:
            self.quantise(f"{name}.plain", name, scale, zero)


def _given(*names: str) -> list[str]:
    return [name for name in names if name]


def _refuse(node: onnx.NodeProto, why: str) -> NoReturn:
    refuse(f"node {node.name or node.output[0]!r} ({node.op_type}): {why}", "quantise it with QDQ nodes")


def _conv(writer: _Writer, node: onnx.NodeProto) -> None:
    given, operands = attributes(node), [writer.numbers(node, 0), writer.numbers(node, 3, 0)]
    bias = writer.bias(node, 8, 1.0, node.input[1], node.input[4])
    last = given.pop("channels_last", 0)
    if last:
        operands[0] = _turned(writer, operands[0], writer.known[node.input[3]].ndim)
    writer.result(node, "Conv", [*operands, *bias], 6, bool(last), **given)


def _turned(writer: _Writer, source: str, rank: int, back: bool = False) -> str:
    """Channels last → channels first, or the way back."""
    order = [0, *range(2, rank), 1] if back else [0, rank - 1, *range(1, rank - 1)]
    return writer.add("Transpose", [source], f"{source}.turned", perm=order)


def _matmul(writer: _Writer, node: onnx.NodeProto) -> None:
    writer.result(node, "MatMul", [writer.numbers(node, 0), writer.numbers(node, 3, 1)], 6)


def _gemm(writer: _Writer, node: onnx.NodeProto) -> None:
    given = attributes(node)
    operands = [writer.numbers(node, 0), writer.numbers(node, 3, 0 if given.get("transB", 0) else 1)]
    bias = writer.bias(node, 6, given.get("alpha", 1.0), node.input[1], node.input[4])
    writer.result(node, "Gemm", [*operands, *bias], 7, **given)


def _integer(writer: _Writer, node: onnx.NodeProto) -> None:
    """A product of codes less their zero points, which is whole; its scale follows in other nodes."""
    one, output = f"{node.output[0]}.one", node.output[0]
    set_initializer(writer.model, one, np.array(1, np.float32))
    zeros = [node.input[i] if i < len(node.input) else "" for i in (2, 3)]
    if any(zero and writer.constant(node, zero).size > 1 for zero in zeros):
        _refuse(node, "its operands have several zero points")
    operands = [
        writer.add("DequantizeLinear", _given(node.input[i], one, zeros[i]), f"{output}.of{i}")
        for i in (0, 1)
    ]
    plain = writer.add(_PRODUCTS[node.op_type], operands, f"{output}.plain", node.name, **attributes(node))
    writer.add("Cast", [plain], output, to=TensorProto.INT32)


def _one_operand(writer: _Writer, node: onnx.NodeProto) -> None:
    given, operand = attributes(node), writer.numbers(node, 0)
    last = bool(given.pop("channels_last", 0))
    if last:
        operand = _turned(writer, operand, len(given.get("kernel_shape", (0, 0))) + 2)
    if node.op_type == "QLinearSoftmax" and given.pop("opset", 13) < _AXES and given.get("axis", -1) != -1:
        _refuse(node, "it is that of an opset before 13 and not over the last axis")
    writer.result(node, _ONE_OPERAND[node.op_type], [operand], 3, last, **given)


def _two_operands(writer: _Writer, node: onnx.NodeProto) -> None:
    writer.result(node, _TWO_OPERANDS[node.op_type], [writer.numbers(node, 0), writer.numbers(node, 3)], 6)


def _where(writer: _Writer, node: onnx.NodeProto) -> None:
    writer.result(node, "Where", [node.input[0], writer.numbers(node, 1), writer.numbers(node, 4)], 7)


def _mean(writer: _Writer, node: onnx.NodeProto) -> None:
    given, operands = attributes(node), [writer.numbers(node, 0)]
    if writer.version >= _AXES_AS_INPUT and "axes" in given:
        operands.append(f"{node.output[0]}.axes")
        set_initializer(writer.model, operands[1], np.array(given.pop("axes"), np.int64))
    writer.result(node, "ReduceMean", operands, 3, **given)


def _integer_to_float(writer: _Writer, node: onnx.NodeProto) -> None:
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


def _dynamic_product(writer: _Writer, node: onnx.NodeProto) -> None:
    """A product with a kernel in codes; the other operand is quantised as the network runs."""
    output, (zero, bias) = node.output[0], (*node.input[3:], "", "")[:2]
    made = [f"{output}.{part}" for part in ("codes", "scale", "zero")]
    writer.nodes.append(helper.make_node("DynamicQuantizeLinear", [node.input[0]], made, made[0]))
    operands = [made[0], node.input[1], made[2], zero]
    product = _rescaled(writer, node, operands, made[1], node.input[2], bias)
    if bias:
        writer.add("Add", [product, bias], output)


def _rescaled(
    writer: _Writer, node: onnx.NodeProto, operands: list[str], scale: str, kernel_scale: str, bias: str
) -> str:
    """The product of codes times both scales, named as the node's output unless a bias follows."""
    output = node.output[0]
    while operands and not operands[-1]:
        operands.pop()
    whole = writer.add("MatMulInteger", operands, f"{output}.whole", node.name)
    numbers = writer.add("Cast", [whole], f"{output}.numbers", to=TensorProto.FLOAT)
    scales = writer.add("Mul", [scale, kernel_scale], f"{output}.scales")
    return writer.add("Mul", [numbers, scales], f"{output}.product" if bias else output)


def _concat(writer: _Writer, node: onnx.NodeProto) -> None:
    operands = [writer.numbers(node, index) for index in range(2, len(node.input), 3)]
    plain = writer.add("Concat", operands, f"{node.output[0]}.plain", node.name, **attributes(node))
    writer.quantise(plain, node.output[0], node.input[0], node.input[1])


def _own(writer: _Writer, node: onnx.NodeProto) -> None:
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
        _own_blocks(writer, node, zero)
        return
    if writer.version < _WORDS and zero.dtype.name in _NIBBLES:
        _own_nibbles(writer, node, zero)
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
    if scale.size > 1 or not all(
        _is_known(reader) for reader in writer.readers[node.output[0]] if node.op_type[0] == "Q"
    ):
        _refuse(node, "codes of 16 bits that other nodes read, or with several scales")
    if node.op_type == "QuantizeLinear":
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


def _own_blocks(writer: _Writer, node: onnx.NodeProto, zero: Array) -> None:
    """A constant kernel as the numbers that its codes stand for."""
    if node.op_type != "DequantizeLinear":
        _refuse(node, "what is computed is quantised in blocks")
    given = attributes(node)
    codes, scale = writer.constant(node, node.input[0]), writer.constant(node, node.input[1])
    values = dequantise(codes, scale, zero, given.get("axis", 1) % codes.ndim, given["block_size"])
    set_initializer(writer.model, node.output[0], values)


def _own_nibbles(writer: _Writer, node: onnx.NodeProto, zero: Array) -> None:
    held, names = _NIBBLES[zero.dtype.name], list(node.input)
    names[2] = f"{node.output[0]}.zero"
    set_initializer(writer.model, names[2], zero.astype(held))
    if names[0] in writer.known:
        names[0] = f"{node.output[0]}.held"
        set_initializer(writer.model, names[0], writer.known[node.input[0]].astype(held))
    elif node.op_type == "QuantizeLinear":
        scale = writer.constant(node, names[1])
        if scale.size > 1:
            _refuse(node, "an activation of 4 bits with several scales")
        ends = [(code - zero.astype(np.float64)) * scale for code in code_limits(zero.dtype)]
        bounds = [f"{node.output[0]}.{side}" for side in ("low", "high")]
        for name, end in zip(bounds, ends, strict=True):
            set_initializer(writer.model, name, end.astype(np.float32).reshape(()))
        names[0] = writer.add("Clip", [names[0], *bounds], f"{node.output[0]}.clipped")
        writer.codes[node.output[0]] = (names[1], names[2])
    writer.add(node.op_type, names, node.output[0], node.name, **attributes(node))


_WRITERS: dict[str, Callable[[_Writer, onnx.NodeProto], None]] = {
    "QLinearConv": _conv,
    "QLinearMatMul": _matmul,
    "QGemm": _gemm,
    "QLinearConcat": _concat,
    "QLinearWhere": _where,
    "QLinearReduceMean": _mean,
    "MatMulIntegerToFloat": _integer_to_float,
    "DynamicQuantizeMatMul": _dynamic_product,
    **dict.fromkeys(_PRODUCTS, _integer),
    **dict.fromkeys(_ONE_OPERAND, _one_operand),
    **dict.fromkeys(_TWO_OPERANDS, _two_operands),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _own),
}
