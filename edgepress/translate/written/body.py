"""What a body is written with."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgepress.graph.view import attributes, initializers
from edgepress.translate.plan import Array
from edgepress.translate.planner import Node, RefusedNodeError, unsupported
from edgepress.translate.reading import Shape, tensor_shape


class Body:
    """The nodes that do the work of one node; all are called as it is."""

    def __init__(
        self, node: onnx.NodeProto, model: onnx.ModelProto, infos: Mapping[str, onnx.ValueInfoProto]
    ) -> None:
        self.inputs, self.outputs = list(node.input), list(node.output)
        self.attributes = attributes(node)
        self.op, self.name = node.op_type, node.name or node.output[0]
        self.nodes: list[onnx.NodeProto] = []
        self._infos, self._model = infos, model
        self.opset = next(e.version for e in model.opset_import if e.domain in ("", "ai.onnx"))

    def has(self, index: int) -> bool:
        """Whether operand `index` is given."""
        return len(self.inputs) > index and self.inputs[index] != ""

    def shape(self, index: int = 0) -> Shape:
        """The shape of operand `index`, None for an open size."""
        name = self.inputs[index]
        known = self.constant(index)
        return known.shape if known is not None else tensor_shape(self._infos[name])

    def type(self, index: int = 0) -> int:
        """The element type of operand `index`."""
        known = self.constant(index)
        if known is not None:
            return int(helper.np_dtype_to_tensor_dtype(known.dtype))
        return int(self._infos[self.inputs[index]].type.tensor_type.elem_type)

    @property
    def is_float(self) -> bool:
        """Whether the first operand is of floats."""
        return self.type() in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)

    def constant(self, index: int) -> Array | None:
        """Operand `index` if it is a constant."""
        held = initializers(self._model)
        return held[self.inputs[index]] if self.has(index) and self.inputs[index] in held else None

    def codes(self, index: int) -> tuple[Array, Array, Array, int] | None:
        """Codes, scales, zero points and axis of operand `index`, if it is made of constants by these."""
        made = [n for n in self._model.graph.node if n.output[0] == self.inputs[index]]
        if not made or made[0].op_type != "DequantizeLinear":
            return None
        held, (name, *others) = initializers(self._model), made[0].input
        if name not in held or any(other not in held for other in others):
            return None
        scale = held[others[0]]
        zero = held[others[1]] if len(others) > 1 else np.zeros(scale.shape, held[name].dtype)
        return held[name], scale, zero, int(attributes(made[0]).get("axis", 1))

    def refused(self, why: str) -> RefusedNodeError:
        """The error for a form that has no body."""
        return unsupported(Node(self.op, self.name, (), (), {}), why)

    def __call__(self, op: str, *operands: Any, outputs: Sequence[str] = (), **attributes: Any) -> str:
        """Add a node, and return the name of its first result; operands may be numbers or arrays."""
        names = [self._operand(operand) for operand in operands]
        made = list(outputs) or [f"{self.outputs[0] or self.name}.{self.op}.{len(self.nodes)}.{op}"]
        self.nodes.append(helper.make_node(op, names, made, self.name, **attributes))
        return made[0]

    def gives(self, op: str, *operands: Any, index: int = 0, **attributes: Any) -> None:
        """Add the node that makes output `index`."""
        self(op, *operands, outputs=[self.outputs[index]], **attributes)

    def number(self, value: Any) -> Array:
        """A number of the type of the first operand."""
        return np.asarray(value, helper.tensor_dtype_to_np_dtype(self.type()))

    def reduce(self, kind: str, x: str, axes: Sequence[int], keepdims: int = 1) -> str:
        """A reduction, whose axes are an operand from some opset on."""
        since = 13 if kind == "ReduceSum" else 18
        if self.opset >= since:
            return self(kind, x, np.array(axes, np.int64), keepdims=keepdims)
        return self(kind, x, axes=list(axes), keepdims=keepdims)

    def _operand(self, operand: Any) -> str:
        if isinstance(operand, str):
            return operand
        name = f"{self.outputs[0] or self.name}.{self.op}.{len(self.nodes)}.constant"
        value = numpy_helper.from_array(np.asarray(operand), name)
        self.nodes.append(helper.make_node("Constant", [], [name], name, value=value))
        return name


Writer = Callable[[Body], None]
"""Writes the nodes that make what one node makes."""
