"""Writes float operators between DequantizeLinear and QuantizeLinear in place of what computes with codes."""

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import onnx
from onnx import helper

from edgepress.graph.normalise.limits import refuse
from edgepress.graph.normalise.structure import opset
from edgepress.graph.view import Array, consumers, initializers, set_initializer

AXES = 13
"""From this opset on DequantizeLinear knows several scales."""

Codes = tuple[str, str]
"""The names of the scale and zero point of a tensor of codes."""


class PairWriter:
    """The nodes written so far, and of which tensors the scale is known."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model, self.known = model, initializers(model)
        self.nodes: list[onnx.NodeProto] = []
        self.codes: dict[str, Codes] = {}
        self.readers = consumers(model)
        self.version = opset(model)
        kinds = {node.op_type for node in model.graph.node}
        self.dynamic = not kinds.isdisjoint(("DynamicQuantizeLinear", "DynamicQuantizeMatMul"))

    def add(self, op: str, inputs: Sequence[str], output: str, name: str = "", **attributes: object) -> str:
        """Write a node and give its output."""
        self.nodes.append(helper.make_node(op, inputs, [output], name or output, **attributes))
        return output

    def constant(self, node: onnx.NodeProto, name: str) -> Array:
        """A constant operand of a node."""
        if name not in self.known:
            refuse_node(node, f"its operand {name!r} is computed" if name else "an operand is missing")
        return self.known[name]

    def numbers(self, node: onnx.NodeProto, index: int, axis: int | None = None) -> str:
        """The numbers that codes stand for, whose scale and zero point are the operands behind them."""
        return self.dequantised(node, (index, index + 1, index + 2), axis)

    def dequantised(self, node: onnx.NodeProto, places: tuple[int, int, int], axis: int | None = None) -> str:
        """The numbers of codes, their scale and zero point, which are these operands."""
        codes, scale, zero = (node.input[i] if i < len(node.input) else "" for i in places)
        output = f"{node.output[0]}.of{places[0]}"
        if self.constant(node, scale).size == 1:
            return self.add("DequantizeLinear", present(codes, scale, zero), output)
        if axis is None:
            refuse_node(node, f"its operand {codes!r} has several scales")
        if self.version >= AXES:
            zeros = self._spread(node, scale, zero)
            return self.add("DequantizeLinear", present(codes, scale, zeros), output, axis=axis)
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
            plain = turned(self, plain, len(given.get("kernel_shape", (0, 0))) + 2, back=True)
        self.quantise(
            plain, node.output[0], node.input[at], node.input[at + 1] if at + 1 < len(node.input) else ""
        )

    def quantise(self, plain: str, output: str, scale: str, zero: str) -> None:
        """The codes of a tensor."""
        self.add("QuantizeLinear", present(plain, scale, zero), output)
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

    def move(self, node: onnx.NodeProto) -> None:
        """A node that moves codes, as one that moves their numbers."""
        scale, zero = self.codes[node.input[0]]
        plain = self.add("DequantizeLinear", [node.input[0], scale, zero], f"{node.output[0]}.before")
        moved, outputs = onnx.NodeProto(), [name for name in node.output if name]
        moved.CopyFrom(node)
        moved.input[0] = plain
        moved.output[:] = [f"{name}.plain" if name else "" for name in node.output]
        self.nodes.append(moved)
        for name in outputs[: 1 if node.op_type == "MaxPool" else None]:
            self.quantise(f"{name}.plain", name, scale, zero)


def turned(writer: PairWriter, source: str, rank: int, back: bool = False) -> str:
    """Channels last → channels first, or the way back."""
    order = [0, *range(2, rank), 1] if back else [0, rank - 1, *range(1, rank - 1)]
    return writer.add("Transpose", [source], f"{source}.turned", perm=order)


def present(*names: str) -> list[str]:
    """Operands, without those that are left out."""
    return [name for name in names if name]


def refuse_node(node: onnx.NodeProto, why: str) -> NoReturn:
    """Say why a node is not taken."""
    refuse(f"node {node.name or node.output[0]!r} ({node.op_type}): {why}", "quantise it with QDQ nodes")
