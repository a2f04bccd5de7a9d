"""What operators of ONNX Runtime's own domain are written out with."""

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgepress.graph.aside import values_of
from edgepress.graph.normalise.limits import refuse
from edgepress.graph.view import Array, attributes

Dims = tuple[int | None, ...]

_REMEDY = "optimise the network at ORT_ENABLE_BASIC, or take the file that it was optimised from"


class MicrosoftBody:
    """The nodes that do the work of one node, in the model's own opset; constants are nodes, too."""

    def __init__(
        self,
        node: onnx.NodeProto,
        opset: int,
        constants: Mapping[str, TensorProto],
        shapes: dict[str, Dims],
    ) -> None:
        self.node, self.opset, self.attributes = node, opset, attributes(node)
        self.nodes: list[onnx.NodeProto] = []
        self._constants, self._shapes = constants, shapes
        self._stem = next(filter(None, node.output))

    def has(self, index: int) -> bool:
        """Whether operand `index` is given."""
        return len(self.node.input) > index and self.node.input[index] != ""

    def asked(self, index: int) -> bool:
        """Whether output `index` has a name."""
        return len(self.node.output) > index and self.node.output[index] != ""

    def input(self, index: int) -> str:
        """The name of operand `index`, which has to be given."""
        if not self.has(index):
            self.refuse(f"it has no input {index}")
        return str(self.node.input[index])

    def optional(self, index: int) -> list[str]:
        """The name of operand `index`, if it is given."""
        return [self.input(index)] if self.has(index) else []

    def dims(self, index: int) -> Dims | None:
        """The sizes of operand `index`, None for open ones; None where the file says nothing of them."""
        name = self.input(index)
        if name in self._constants:
            return tuple(self._constants[name].dims)
        return self._shapes.get(name)

    def rank(self, index: int) -> int:
        """How many axes operand `index` has."""
        found = self.dims(index)
        if found is None:
            self.refuse(f"nothing tells how many axes its input {index} has")
        return len(found)

    def note(self, index: int, rank: int) -> None:
        """Tell those behind how many axes output `index` has, if the file does not."""
        self._shapes.setdefault(self.node.output[index], (None,) * rank)

    def values(self, index: int) -> Array:
        """Operand `index`, which has to be a constant."""
        name = self.input(index)
        if name not in self._constants:
            self.refuse(f"its input {index} is computed")
        return values_of(self._constants[name])

    def refuse(self, why: str) -> NoReturn:
        """Raise the error for a form that is not taken, with its node."""
        refuse(f"node {self.node.name or self._stem!r} (com.microsoft.{self.node.op_type}): {why}", _REMEDY)

    def text(self, name: str, default: str = "") -> str:
        """An attribute that is text."""
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else str(value)

    def __call__(self, op: str, *operands: Any, output: str = "", **given: Any) -> str:
        """Add a node, and return the name of its first result; operands may be numbers or arrays."""
        return self.several(op, 1, *operands, output=output, **given)[0]

    def several(self, op: str, count: int, *operands: Any, output: str = "", **given: Any) -> list[str]:
        """Add a node of so many results."""
        names = [each if isinstance(each, str) else self._constant(each) for each in operands]
        made = [output] if output else [f"{self._stem}.{op}{len(self.nodes)}.{n}" for n in range(count)]
        self.nodes.append(helper.make_node(op, names, made, self.node.name, **given))
        return made

    def gives(self, op: str, *operands: Any, index: int = 0, **given: Any) -> str:
        """Add the node that makes output `index`."""
        return self(op, *operands, output=self.node.output[index], **given)

    def _constant(self, value: Any) -> str:
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        name = f"{self._stem}.constant{len(self.nodes)}"
        tensor = numpy_helper.from_array(array, name)
        self.nodes.append(helper.make_node("Constant", [], [name], name, value=tensor))
        return name

    # What older opsets write otherwise

    def mean(self, x: str, axes: list[int]) -> str:
        """Over axes, which stay with size 1."""
        if self.opset >= 18:
            return self("ReduceMean", x, np.array(axes), keepdims=1)
        return self("ReduceMean", x, axes=axes, keepdims=1)

    def unsqueeze(self, x: str, *axes: int) -> str:
        """With further axes of size 1."""
        if self.opset >= 13:
            return self("Unsqueeze", x, np.array(axes))
        return self("Unsqueeze", x, axes=list(axes))

    def split(self, x: str, sizes: list[int], axis: int) -> list[str]:
        """Parts of these sizes."""
        if self.opset >= 13:
            return self.several("Split", len(sizes), x, np.array(sizes), axis=axis)
        return self.several("Split", len(sizes), x, axis=axis, split=sizes)

    def clip(self, x: str, low: float, high: float, **given: Any) -> str:
        """Within bounds."""
        if self.opset >= 11:
            return self("Clip", x, np.float32(low), np.float32(high), **given)
        return self("Clip", x, min=low, max=high, **given)
