"""Operators that compute with codes, as float operators between DequantizeLinear and QuantizeLinear.

ONNX Runtime's QOperator format has them, of ONNX itself (QLinearConv, ConvInteger …) and of its own domain
(https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md). Both forms compute the same.
"""

from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgepress.graph.codes import code_limits
from edgepress.graph.constants import constants_as_initializers
from edgepress.graph.normalise.limits import refuse
from edgepress.graph.normalise.structure import opset
from edgepress.graph.view import Array, attributes, consumers, initializers, replace_nodes, set_initializer

_AXES = 13
"""From this opset on DequantizeLinear knows several scales."""

_WORDS = 21
"""From this opset on ONNX's own QuantizeLinear knows 16 bits."""

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
        self.dynamic = any(node.op_type == "DynamicQuantizeLinear" for node in model.graph.node)

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
        codes, scale, zero = (node.input[i] if i < len(node.input) else "" for i in range(index, index + 3))
        output = f"{node.output[0]}.of{index}"
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
        self, node: onnx.NodeProto, op: str, operands: Sequence[str], at: int, **given: object
    ) -> None:
        """The float operator and, if a scale and zero point stand at `at`, the codes of what it computes."""
        if len(node.input) <= at or not node.input[at]:
            self.add(op, operands, node.output[0], node.name, **given)
            return
        plain = self.add(op, operands, f"{node.output[0]}.plain", node.name, **given)
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
    operands = [writer.numbers(node, 0), writer.numbers(node, 3, 0)]
    bias = writer.bias(node, 8, 1.0, node.input[1], node.input[4])
    writer.result(node, "Conv", [*operands, *bias], 6, **attributes(node))


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
    given = attributes(node)
    if given.pop("channels_last", 0):
        _refuse(node, "it has its channels last")
    if node.op_type == "QLinearSoftmax" and given.pop("opset", 13) < _AXES and given.get("axis", -1) != -1:
        _refuse(node, "it is that of an opset before 13 and not over the last axis")
    writer.result(node, _ONE_OPERAND[node.op_type], [writer.numbers(node, 0)], 3, **given)


def _two_operands(writer: _Writer, node: onnx.NodeProto) -> None:
    writer.result(node, _TWO_OPERANDS[node.op_type], [writer.numbers(node, 0), writer.numbers(node, 3)], 6)


def _concat(writer: _Writer, node: onnx.NodeProto) -> None:
    operands = [writer.numbers(node, index) for index in range(2, len(node.input), 3)]
    plain = writer.add("Concat", operands, f"{node.output[0]}.plain", node.name, **attributes(node))
    writer.quantise(plain, node.output[0], node.input[0], node.input[1])


def _own(writer: _Writer, node: onnx.NodeProto) -> None:
    """QuantizeLinear and DequantizeLinear of that domain; of 16 bits, before ONNX had such, as floats."""
    zero = (
        writer.constant(node, node.input[2])
        if len(node.input) > 2 and node.input[2]
        else np.zeros((), np.uint8)
    )
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


_WRITERS: dict[str, Callable[[_Writer, onnx.NodeProto], None]] = {
    "QLinearConv": _conv,
    "QLinearMatMul": _matmul,
    "QGemm": _gemm,
    "QLinearConcat": _concat,
    **dict.fromkeys(_PRODUCTS, _integer),
    **dict.fromkeys(_ONE_OPERAND, _one_operand),
    **dict.fromkeys(_TWO_OPERANDS, _two_operands),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _own),
}
