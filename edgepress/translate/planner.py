"""The layout pass: walks an ONNX graph once and writes the plan.

Images (rank 4) are stored NHWC from the input on. Operators without an opinion keep the layout they get;
operators with one (a convolution, a reshape) ask for it, and only there a transpose can arise. A
flattened image stays in its stored order until a matrix product absorbs the permutation into its rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgepress.errors import UnsupportedModelError, without_translation
from edgepress.graph.shapes import BATCH, inferred_infos
from edgepress.graph.strangers import or_allow_custom
from edgepress.graph.view import consumers, initializers
from edgepress.translate.layout import Layout, Order, channels_last, flattened_rows, moves_nothing, plain
from edgepress.translate.plan import Array, Quantisation, Step, Weight
from edgepress.translate.reading import Shape, tensor_shape
from edgepress.translate.wishes import NONE, Wishes, nearest


@dataclass(frozen=True)
class Value:
    """A computed tensor: `shape` in ONNX order with None for the batch; `minimum` a proven lower bound.

    `turned_by` is the Transpose node to which it owes its layout, '' for none.
    """

    name: str
    shape: Shape
    layout: Layout
    minimum: float | None = None
    turned_by: str = ""


@dataclass(frozen=True)
class Constant:
    """A constant in ONNX layout.

    `quantisation` is given where it was dequantised: of one scale, or one for each element of `axis`.
    """

    values: Array
    initializer: str | None = None
    quantisation: Quantisation | None = None
    axis: int = 0


@dataclass(frozen=True)
class Node:
    """An ONNX node, its attributes decoded."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]

    def has_input(self, index: int) -> bool:
        return len(self.inputs) > index and self.inputs[index] != ""


OpPlanner = Callable[[Node, "Planner"], None]
PlanNodes = Callable[[list[Node], "Planner"], None]
"""Plans nodes in turn, or names all that cannot be planned."""


def _none_planned(nodes: list[Node], planner: "Planner") -> None:
    assert not nodes, "nothing was said of how nodes within nodes are planned"


class Planner:
    """What an operator's planner works with: the operands it reads and the steps it writes."""

    def __init__(self, model: onnx.ModelProto, orders: Mapping[str, Order], any_size: bool = False) -> None:
        """With `any_size` the model's sizes are one choice of several; what is written must suit all."""
        self.any_size = any_size
        self.steps: list[Step] = []
        self.values: dict[str, Value] = {}
        self.constants = {name: Constant(v, name) for name, v in initializers(model).items()}
        self.opset_import = list(model.opset_import)
        self.plan_nodes: PlanNodes = _none_planned
        self.write_out: Callable[[onnx.ModelProto], None] = lambda model: None
        self.open_shapes: Mapping[str, Shape] = {}
        self.opset = next(e.version for e in model.opset_import if e.domain in ("", "ai.onnx"))
        infos = inferred_infos(model)
        self._shapes = {name: tensor_shape(info) for name, info in infos.items()}
        self._sized = {name for name, info in infos.items() if _is_sized(info)}
        self._ranked = {name for name, info in infos.items() if info.type.tensor_type.HasField("shape")}
        self._types = {name: info.type.tensor_type.elem_type for name, info in infos.items()}
        self.readers = consumers(model)
        self.outputs = {output.name: self._order(output.name, orders) for output in model.graph.output}
        sizes = {name: constant.values.shape for name, constant in self.constants.items()}
        shape = partial(_shape, self.constants, self._shapes)  # no method: a cycle would keep all weights
        self.wishes = Wishes(self.readers, sizes, self.outputs, shape)
        self._moved: dict[tuple[str, tuple[int, ...]], str] = {}
        self.float_codes = set[str]()

    def _order(self, name: str, orders: Mapping[str, Order]) -> Order:
        """How an output is stored: one of four axes is an image unless another order is given."""
        rank = len(self.shape(name))
        return orders.get(name, (channels_last(rank) if rank == 4 else plain(rank)).order)

    def value(self, name: str) -> Value:
        """A computed operand; a constant in its place becomes a step of its own."""
        if name not in self.values:
            constant = self.constants[name]
            weight = Weight(constant.values, quantisation=of_one_scale(constant.quantisation))
            step = Step("constant", (), name, name, weights={"value": weight})
            self.steps.append(step)
            self.values[name] = Value(name, constant.values.shape, plain(constant.values.ndim))
        return self.values[name]

    def constant(self, node: Node, index: int) -> Constant:
        """A constant operand.

        Raises:
            UnsupportedModelError: the operand is computed.
        """
        name = node.inputs[index]
        if name not in self.constants:
            raise unsupported(node, f"its input {index} ({name}) is not a constant")
        return self.constants[name]

    def integers(self, node: Node, index: int) -> list[int]:
        """A constant operand as a list of integers (axes, a shape, pads)."""
        return [int(i) for i in self.constant(node, index).values.reshape(-1)]

    def shape(self, name: str) -> Shape:
        """The inferred shape of a tensor."""
        return _shape(self.constants, self._shapes, name)

    def declared(self, name: str) -> Shape | None:
        """The shape of a tensor as the model declares it, or as it was inferred; None if neither is there."""
        return self._shapes.get(name) or None

    def dtype(self, name: str) -> npt.DTypeLike:
        """The numpy type of a tensor's elements."""
        if name in self.constants:
            return self.constants[name].values.dtype
        kind = self._types.get(name) or onnx.TensorProto.FLOAT
        dtype: npt.DTypeLike = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind))
        return dtype

    def note(self, shapes: Mapping[str, Shape], types: Mapping[str, int]) -> None:
        """Shapes and types of tensors that an operator written out in others brings with it."""
        new = {name: shape for name, shape in shapes.items() if not self._has_rank(name)}
        self._shapes.update(new)
        self._types.update({name: kind for name, kind in types.items() if not self._types.get(name)})

    def _has_rank(self, name: str) -> bool:
        """Whether more is known of a tensor's shape than that it has one."""
        return name in self._ranked or bool(self._shapes.get(name))

    def is_open(self, name: str, axis: int) -> bool:
        """Whether the model leaves a size open that may have a number here."""
        sizes = self.open_shapes.get(name)
        return sizes is not None and sizes[axis] is None

    def elem_type(self, name: str) -> int:
        """ONNX's number of the type of a tensor's elements; 0 where it is no tensor."""
        if name in self.constants:
            return int(onnx.helper.np_dtype_to_tensor_dtype(self.constants[name].values.dtype))
        return int(self._types.get(name, 0))

    def has_shape(self, name: str) -> bool:
        """Whether the sizes of a tensor are known, or that they are those of the batch."""
        return name in self.constants or name in self._sized

    def dtype_name(self, name: str) -> str:
        """numpy's name of the type of a tensor's elements."""
        return np.dtype(self.dtype(name)).name

    def emit(
        self,
        node: Node,
        op: str,
        inputs: tuple[Value, ...],
        layout: Layout,
        weights: dict[str, Weight] | None = None,
        minimum: float | None = None,
        index: int = 0,
        **attributes: Any,
    ) -> Value:
        """Write the step that makes the node's output, or its output number `index`."""
        name = node.outputs[index]
        self.steps.append(Step(op, tuple(v.name for v in inputs), name, node.name, attributes, weights or {}))
        turned_by = next((v.turned_by for v in inputs if v.turned_by and v.layout == layout), "")
        self.values[name] = Value(name, self.shape(name), layout, minimum, turned_by)
        return self.values[name]

    def emit_several(
        self,
        node: Node,
        op: str,
        inputs: tuple[Value, ...],
        layouts: Sequence[Layout],
        weights: dict[str, Weight] | None = None,
        **attributes: Any,
    ) -> list[Value]:
        """Write the step that makes all outputs of the node; unnamed ones get a name."""
        first = next(filter(None, node.outputs))
        names = [
            name or f"{first}.unread{i}"
            for i, name in enumerate([*node.outputs, *[""] * len(layouts)][: len(layouts)])
        ]
        step = Step(
            op,
            tuple(v.name for v in inputs),
            names[0],
            node.name,
            attributes,
            weights or {},
            tuple(names[1:]),
        )
        self.steps.append(step)
        for name, layout in zip(names, layouts, strict=True):
            self.values[name] = Value(name, self._shapes.get(name, (None,) * len(layout.order)), layout)
        return [self.values[name] for name in names]

    def emit_between(self, node: Node, op: str, value: Value, suffix: str, **attributes: Any) -> Value:
        """Write a helper step on an operand of the node, e.g. its padding; the shape is kept as it was."""
        name = f"{node.outputs[0]}.{suffix}"
        self.steps.append(Step(op, (value.name,), name, node.name, attributes))
        return replace(value, name=name)

    def emit_helper(
        self,
        node: Node,
        op: str,
        inputs: tuple[Value, ...],
        suffix: str,
        like: Value,
        weights: dict[str, Weight] | None = None,
        **attributes: Any,
    ) -> Value:
        """Write a helper step of the node whose result has the shape and layout of `like`."""
        name = f"{node.outputs[0]}.{suffix}"
        self.steps.append(Step(op, tuple(v.name for v in inputs), name, node.name, attributes, weights or {}))
        return replace(like, name=name)

    def reshaped(self, node: Node, value: Value, shape: Shape, suffix: str) -> Value:
        """The operand's stored elements under another shape, which its layout then no longer tells."""
        name = f"{value.name}.{suffix}"
        moved = self.emit_between(node, "reshape", value, name, shape=target_sizes(shape))
        return replace(moved, shape=shape, layout=plain(len(shape)))

    def target(self, node: Node) -> list[int]:
        """The node's output shape for a reshape step, -1 for an open size."""
        return target_sizes(self.shape(node.outputs[0]))

    def literal(self, values: Array) -> Constant:
        """A constant that the translation itself brings."""
        return Constant(np.asarray(values))

    def alias(self, node: Node, value: Value) -> None:
        """The node changes nothing: its output is its input."""
        self.values[node.outputs[0]] = value

    def stand_in(self, node: Node) -> None:
        """Results for a node that cannot be planned, so that those behind it can be looked at."""
        for name in filter(None, node.outputs):
            shape = self._shapes.get(name, ())
            self.values[name] = Value(name, shape, channels_last(len(shape)))

    def stored_as(self, node: Node, value: Value, layout: Layout) -> Value:
        """The operand in the wanted layout; a transpose is written only if it is not there already."""
        if value.layout == layout:
            return value
        if value.layout.flattened:
            value = self._unflattened(node, value)
        order = tuple(value.layout.position(axis) for axis in layout.order)
        if (value.name, order) in self._moved:
            return replace(value, name=self._moved[value.name, order], layout=layout)
        if moves_nothing(order, [value.shape[axis] for axis in value.layout.order]):
            sizes = [value.shape[axis] for axis in layout.order]
            moved = self.emit_between(
                node, "reshape", value, f"{value.name}.as_stored", shape=target_sizes(sizes)
            )
        else:
            why: dict[str, Any] = {"order": order, "asked_by": node.op, "turned_by": value.turned_by}
            moved = self.emit_between(node, "transpose", value, f"{value.name}.transposed", **why)
        self._moved[value.name, order] = moved.name
        return replace(moved, layout=layout)

    def as_wished(self, node: Node, value: Value) -> Value:
        """An operand of which the node takes parts, moved as a whole if all readers want them moved."""
        wish = NONE if value.layout.flattened else self.wishes.of(node.inputs[0])
        if not wish or value.layout.order in wish:
            return value
        return self.stored_as(node, value, Layout(nearest(value.layout.order, wish)))

    def _unflattened(self, node: Node, value: Value) -> Value:
        channels, height, width = value.layout.flattened or (0, 0, 0)
        image = self.emit_between(
            node, "reshape", value, f"{value.name}.image", shape=[-1, height, width, channels]
        )
        why: dict[str, Any] = {"order": (0, 3, 1, 2), "asked_by": node.op, "turned_by": ""}
        turned = self.emit_between(node, "transpose", image, f"{value.name}.chw", **why)
        flat = self.emit_between(
            node, "reshape", turned, f"{value.name}.flat", shape=[-1, channels * height * width]
        )
        return replace(flat, layout=plain(2))

    def operand_weight(self, constant: Constant, like: Value) -> Weight:
        """A constant operand of an element-wise step, broadcast and stored like `like`."""
        rank = len(like.layout.order)
        if constant.values.ndim > rank:
            raise UnsupportedModelError(
                f"a constant of rank {constant.values.ndim} meets {like.name}, rank {rank}"
            )
        values = constant.values.reshape((1,) * (rank - constant.values.ndim) + constant.values.shape)
        if like.layout.flattened and values.shape[-1] > 1:
            values = values[..., flattened_rows(like.layout.flattened)]
        return Weight(
            np.transpose(values, like.layout.order), quantisation=of_one_scale(constant.quantisation)
        )


def of_one_scale(quantisation: Quantisation | None) -> Quantisation | None:
    """The codes of an operand: of one scale, and of few bits, since they follow from the numbers."""
    few = quantisation is not None and quantisation.scale.size == 1 and quantisation.dtype != "int32"
    return quantisation if few else None


def _shape(constants: Mapping[str, Constant], inferred: Mapping[str, Shape], name: str) -> Shape:
    return constants[name].values.shape if name in constants else inferred[name]


def _is_sized(info: onnx.ValueInfoProto) -> bool:
    tensor = info.type.tensor_type
    known = (dim.HasField("dim_value") or dim.dim_param == BATCH for dim in tensor.shape.dim)
    return tensor.HasField("shape") and all(known)


class RefusedNodeError(UnsupportedModelError):
    """A node that the translator cannot take; `what` names it and says why."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the translator cannot take node {what}. {without_translation()}{or_allow_custom()}"
        )
        self.what = what


def unsupported(node: Node, why: str) -> RefusedNodeError:
    """The error for a node that the translator cannot take."""
    return RefusedNodeError(f"{node.name!r} ({node.op}): {why}")


def target_sizes(sizes: Sequence[int | None]) -> list[int]:
    """A shape as a reshape step takes it, -1 for an open size."""
    return [-1 if size is None else size for size in sizes]
