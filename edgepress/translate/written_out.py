"""Operators written out in simpler ones of ONNX, which the planner then takes one by one.

A function writes an operator down once, in ONNX's own terms and with the axes in ONNX's order; layouts,
number formats and TensorFlow's operations follow from what is known of the simpler operators.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgepress.graph.constants import fold_constants
from edgepress.graph.shapes import inferred_infos
from edgepress.graph.view import attributes
from edgepress.translate.plan import Array
from edgepress.translate.planner import Constant, Node, OpPlanner, Planner, unsupported
from edgepress.translate.reading import Shape, tensor_shape

_TRUTHS = ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Not", "And", "Or")
_PLACES = ("Shape", "ArgMax", "NonZero")


@dataclass(frozen=True)
class Term:
    """A tensor of the sketch, by its name and numpy's name of its type; arithmetic writes nodes."""

    sketch: "Sketch"
    name: str
    dtype: str

    def __add__(self, other: Any) -> "Term":
        return self.sketch("Add", self, other)

    def __radd__(self, other: Any) -> "Term":
        return self.sketch("Add", self, other)

    def __sub__(self, other: Any) -> "Term":
        return self.sketch("Sub", self, other)

    def __rsub__(self, other: Any) -> "Term":
        return self.sketch("Sub", self.sketch.like(other, self), self)

    def __mul__(self, other: Any) -> "Term":
        return self.sketch("Mul", self, other)

    def __rmul__(self, other: Any) -> "Term":
        return self.sketch("Mul", self, other)

    def __truediv__(self, other: Any) -> "Term":
        return self.sketch("Div", self, other)

    def __rtruediv__(self, other: Any) -> "Term":
        return self.sketch("Div", self.sketch.like(other, self), self)

    def __neg__(self) -> "Term":
        return self.sketch("Neg", self)

    def __lt__(self, other: Any) -> "Term":
        return self.sketch("Less", self, other)

    def __le__(self, other: Any) -> "Term":
        return self.sketch("LessOrEqual", self, other)

    def __gt__(self, other: Any) -> "Term":
        return self.sketch("Greater", self, other)

    def __ge__(self, other: Any) -> "Term":
        return self.sketch("GreaterOrEqual", self, other)

    def __and__(self, other: Any) -> "Term":
        return self.sketch("And", self, other)

    def equals(self, other: Any) -> "Term":
        """Whether each element is the same."""
        return self.sketch("Equal", self, other)

    def cast(self, dtype: str) -> "Term":
        """The elements in another type."""
        if dtype == self.dtype:
            return self
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return Term(self.sketch, self.sketch("Cast", self, to=kind).name, dtype)

    def reshape(self, *shape: int) -> "Term":
        """The elements under another shape; one size may be −1."""
        return self.sketch("Reshape", self, np.array(shape, np.int64))

    def transpose(self, *perm: int) -> "Term":
        """The axes in another order."""
        return self.sketch("Transpose", self, perm=list(perm))

    def unsqueeze(self, *axes: int) -> "Term":
        """With further axes of size 1."""
        return self.sketch("Unsqueeze", self, np.array(axes, np.int64))

    def squeeze(self, *axes: int) -> "Term":
        """Without these axes of size 1."""
        return self.sketch("Squeeze", self, np.array(axes, np.int64))

    def cut(self, axis: int, start: int, end: int) -> "Term":
        """The span [start, end) of one axis."""
        places = (np.array([each], np.int64) for each in (start, end, axis))
        return self.sketch("Slice", self, *places)

    def take(self, places: Any, axis: int = 0) -> "Term":
        """The elements of one axis at places from 0 on."""
        return self.sketch("Gather", self, places, axis=axis)

    def expand(self, *shape: int) -> "Term":
        """Repeated to a shape."""
        return self.sketch("Expand", self, np.array(shape, np.int64))

    def clip(self, low: float, high: float) -> "Term":
        """Within bounds."""
        return self.sketch("Min", self.sketch("Max", self, low), high)

    def sum(self, *axes: int, keepdims: bool = False) -> "Term":
        """Over axes."""
        return self.sketch("ReduceSum", self, np.array(axes, np.int64), keepdims=int(keepdims))

    def reduce(self, kind: str, *axes: int, keepdims: bool = False) -> "Term":
        """By ReduceMax, ReduceMin or ReduceProd over axes."""
        if self.sketch.opset >= 18:
            return self.sketch(kind, self, np.array(axes, np.int64), keepdims=int(keepdims))
        return self.sketch(kind, self, axes=list(axes), keepdims=int(keepdims))


Written = Callable[["Sketch"], Term | Sequence[Term]]


class Sketch:
    """The simpler operators that stand for a node: call it to add one; what that makes is a `Term`."""

    def __init__(self, node: Node, planner: Planner) -> None:
        self.node, self.planner, self.opset = node, planner, planner.opset
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.declarations: list[onnx.ValueInfoProto] = []
        self._stem = next(filter(None, node.outputs))
        self._held = set[str]()

    def __call__(self, kind: str, *operands: Any, **given: Any) -> Term:
        """Add a node; numbers among its operands are of the type of the first tensor."""
        return self.several(kind, 1, *operands, **given)[0]

    def several(self, kind: str, outputs: int, *operands: Any, **given: Any) -> list[Term]:
        """Add a node of so many results."""
        like = next((operand for operand in operands if isinstance(operand, Term)), None)
        terms = [self.like(operand, like) if operand is not None else None for operand in operands]
        names = [self._fresh() for _ in range(outputs)]
        read = [term.name if term is not None else "" for term in terms]
        self.nodes.append(helper.make_node(kind, read, names, self.node.name, **given))
        typed = terms[1] if kind == "Where" else terms[0]
        assert typed is not None
        dtype = "bool" if kind in _TRUTHS else "int64" if kind in _PLACES else typed.dtype
        made = [Term(self, name, dtype) for name in names]
        if kind == "TopK":
            made[1] = Term(self, names[1], "int64")
        return made

    def _fresh(self) -> str:
        return f"{self._stem}.written{len(self.nodes)}.{len(self.initializers)}.{self._count()}"

    def _count(self) -> int:
        self._made = getattr(self, "_made", 0) + 1
        return self._made

    def like(self, operand: Any, other: Term | None) -> Term:
        """An operand as a tensor: numbers get the type of another."""
        if isinstance(operand, Term):
            return operand
        if isinstance(operand, np.ndarray) or other is None:
            return self.constant(np.asarray(operand))
        return self.constant(np.array(operand, other.dtype))

    def constant(self, values: Array) -> Term:
        """A constant; float64 becomes float32."""
        array = values.astype(np.float32) if values.dtype == np.float64 else values
        name = self._fresh()
        self.initializers.append(_tensor(array, name))
        return Term(self, name, array.dtype.name)

    def held(self, values: Any) -> Term:
        """A constant that differs with open sizes: what is made of it is computed in the network."""
        made = self("Identity", self.constant(np.asarray(values)))
        self._held.add(made.name)
        return made

    def has(self, index: int) -> bool:
        """Whether the node has this operand."""
        return self.node.has_input(index)

    def operand(self, index: int) -> Term:
        """An operand of the node."""
        name = self.node.inputs[index]
        return Term(self, name, self.planner.dtype_name(name))

    def known(self, index: int) -> Array | None:
        """The values of a constant operand, or None."""
        name = self.node.inputs[index] if self.has(index) else ""
        return self.planner.constants[name].values if name in self.planner.constants else None

    def sizes(self, index: int) -> tuple[int, ...]:
        """The shape of an operand.

        Raises:
            UnsupportedModelError: some of it is open.
        """
        name = self.node.inputs[index]
        return tuple(self._fixed(size, f"its input {index} ({name})") for size in self.planner.shape(name))

    def size(self, index: int, axis: int) -> int:
        """One of the sizes of an operand, as `sizes`."""
        name = self.node.inputs[index]
        return self._fixed(self.planner.shape(name)[axis], f"its input {index} ({name})")

    def result_sizes(self, index: int = 0) -> tuple[int, ...]:
        """The shape of a result, as `sizes`."""
        name = self.node.outputs[index]
        return tuple(self._fixed(size, f"its output {name}") for size in self.planner.shape(name))

    def _fixed(self, size: int | None, what: str) -> int:
        if size is None:
            raise unsupported(self.node, f"{what} has a size that is open")
        return size

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute of the node."""
        return self.node.attributes.get(name, default)

    def axis(self, rank: int, default: int = 0) -> int:
        """The node's axis, from 0 on."""
        return int(self.attribute("axis", default)) % max(rank, 1)

    def where(self, condition: Term, x: Any, y: Any) -> Term:
        """x where a condition holds, else y: numbers are of the type of the other one."""
        like = x if isinstance(x, Term) else y if isinstance(y, Term) else None
        return self("Where", condition, self.like(x, like), self.like(y, like))

    def concat(self, terms: Sequence[Term], axis: int) -> Term:
        """Side by side along an axis."""
        return terms[0] if len(terms) == 1 else self("Concat", *terms, axis=axis)

    def wrapped(self, places: Term, size: int) -> Term:
        """Places along an axis, of which those below 0 count from the end, from the start, as int32."""
        places = places.cast("int32")
        return self.where(places < 0, places + size, places)

    def declared(self, term: Term, shape: Shape, dtype: str) -> Term:
        """A tensor made by an operator that ONNX does not know: its shape and type."""
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.declarations.append(_info(term.name, kind, shape))
        return Term(self, term.name, dtype)

    def refuse(self, why: str) -> Exception:
        """The error that names the node."""
        return unsupported(self.node, why)

    # The end

    def plan(self, results: Sequence[Term]) -> None:
        """Have the planner take what was added, for these results of the node."""
        self._name_results(results)
        model = self._model()
        fold_constants(model, self._held)
        infos = inferred_infos(model)
        self.planner.note(
            {name: tensor_shape(info) for name, info in infos.items()},
            {name: info.type.tensor_type.elem_type for name, info in infos.items()},
        )
        for tensor in model.graph.initializer:
            self.planner.constants.setdefault(tensor.name, Constant(numpy_helper.to_array(tensor)))
        inner = set(self.node.inputs)
        for proto in model.graph.node:
            for name in filter(lambda each: each and each not in inner, proto.input):
                self.planner.readers.setdefault(name, []).append(proto)
        nodes = [
            Node(proto.op_type, self.node.name, tuple(proto.input), tuple(proto.output), attributes(proto))
            for proto in model.graph.node
        ]
        self.planner.plan_nodes(nodes, self.planner)

    def _name_results(self, results: Sequence[Term]) -> None:
        for name, term in zip(self.node.outputs, results, strict=False):
            if name:
                self.nodes.append(helper.make_node("Identity", [term.name], [name], self.node.name))

    def _model(self) -> onnx.ModelProto:
        read = [name for name in dict.fromkeys(self.node.inputs) if name]
        known = {name: self.planner.constants[name].values for name in read if name in self.planner.constants}
        held = [_tensor(values, name) for name, values in known.items()]
        computed = [name for name in read if name not in known]
        entries = [self._info(name) for name in computed]
        ends = [onnx.ValueInfoProto(name=name) for name in self.node.outputs if name]
        constants = [*held, *self.initializers]
        graph = helper.make_graph(
            self.nodes, "written", entries, ends, constants, value_info=self.declarations
        )
        return helper.make_model(graph, opset_imports=self.planner.opset_import, ir_version=8)

    def _info(self, name: str) -> onnx.ValueInfoProto:
        shape: Shape = (
            self.planner.values[name].shape if name in self.planner.values else self.planner.shape(name)
        )
        return _info(name, self.planner.elem_type(name) or onnx.TensorProto.FLOAT, shape)


def _tensor(values: Array, name: str) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(values).reshape(values.shape), name)


def _info(name: str, kind: int, shape: Shape) -> onnx.ValueInfoProto:
    sizes = [f"{name}.{axis}" if size is None else size for axis, size in enumerate(shape)]
    return helper.make_tensor_value_info(name, kind, sizes)


def written(function: Written) -> OpPlanner:
    """The planner of an operator that a function writes down in simpler ones."""

    def plan(node: Node, planner: Planner) -> None:
        sketch = Sketch(node, planner)
        results = function(sketch)
        sketch.plan([results] if isinstance(results, Term) else results)

    return plan
