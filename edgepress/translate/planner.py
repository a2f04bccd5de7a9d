"""The layout pass: walks an ONNX graph once and writes the plan.

Images (rank 4) are stored NHWC from the input on. Operators without an opinion keep the layout they get;
operators with one (a convolution, a reshape) ask for it, and only there a transpose can arise. A
flattened image stays in its stored order until a matrix product absorbs the permutation into its rows.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from edgepress.errors import UnsupportedModelError
from edgepress.graph.view import attributes, initializers
from edgepress.translate.layout import Layout, channels_last, flattened_rows, plain
from edgepress.translate.plan import Array, Plan, Quantisation, Step, Weight

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Value:
    """A computed tensor: `shape` in ONNX order with None for the batch; `minimum` a proven lower bound."""

    name: str
    shape: Shape
    layout: Layout
    minimum: float | None = None


@dataclass(frozen=True)
class Constant:
    """A constant in ONNX layout.

    `scale` (one, or one for each channel) and `zero_point` are given where it was dequantised from int8.
    """

    values: Array
    initializer: str | None = None
    scale: Array | None = None
    zero_point: int = 0


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


REMEDY = (
    "Change the network, or go without what works on the translation: "
    "-S prune=none -S cluster=none -S convert=onnx_tf"
)

OpPlanner = Callable[[Node, "Planner"], None]


class Planner:
    """What an operator's planner works with: the operands it reads and the steps it writes."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.steps: list[Step] = []
        self.values: dict[str, Value] = {}
        self.constants = {name: Constant(v, name) for name, v in initializers(model).items()}
        self.opset = next(e.version for e in model.opset_import if e.domain in ("", "ai.onnx"))
        self._shapes = _shapes(model)

    def value(self, name: str) -> Value:
        """A computed operand; a constant in its place becomes a step of its own."""
        if name not in self.values:
            constant = self.constants[name]
            step = Step("constant", (), name, name, weights={"value": Weight(constant.values)})
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
        return self._shapes[name]

    def emit(
        self,
        node: Node,
        op: str,
        inputs: tuple[Value, ...],
        layout: Layout,
        weights: dict[str, Weight] | None = None,
        minimum: float | None = None,
        **attributes: Any,
    ) -> Value:
        """Write the step that makes the node's output."""
        name = node.outputs[0]
        self.steps.append(Step(op, tuple(v.name for v in inputs), name, node.name, attributes, weights or {}))
        self.values[name] = Value(name, self.shape(name), layout, minimum)
        return self.values[name]

    def emit_between(self, node: Node, op: str, value: Value, suffix: str, **attributes: Any) -> Value:
        """Write a helper step on an operand of the node, e.g. its padding; the shape is kept as it was."""
        name = f"{node.outputs[0]}.{suffix}"
        self.steps.append(Step(op, (value.name,), name, node.name, attributes))
        return replace(value, name=name)

    def alias(self, node: Node, value: Value) -> None:
        """The node changes nothing: its output is its input."""
        self.values[node.outputs[0]] = value

    def stored_as(self, node: Node, value: Value, layout: Layout) -> Value:
        """The operand in the wanted layout; a transpose is written only if it is not there already."""
        if value.layout == layout:
            return value
        if value.layout.flattened:
            value = self._unflattened(node, value)
        order = tuple(value.layout.position(axis) for axis in layout.order)
        if _moves_nothing(order, [value.shape[axis] for axis in value.layout.order]):
            sizes = [value.shape[axis] for axis in layout.order]
            moved = self.emit_between(node, "reshape", value, f"{value.name}.as_stored", shape=_target(sizes))
        else:
            moved = self.emit_between(node, "transpose", value, f"{value.name}.transposed", order=order)
        return replace(moved, layout=layout)

    def _unflattened(self, node: Node, value: Value) -> Value:
        channels, height, width = value.layout.flattened or (0, 0, 0)
        image = self.emit_between(
            node, "reshape", value, f"{value.name}.image", shape=[-1, height, width, channels]
        )
        turned = self.emit_between(node, "transpose", image, f"{value.name}.chw", order=(0, 3, 1, 2))
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
        quantisation = None
        if constant.scale is not None and constant.scale.size == 1:
            quantisation = Quantisation(constant.scale, constant.zero_point)
        return Weight(np.transpose(values, like.layout.order), quantisation=quantisation)


def unsupported(node: Node, why: str) -> UnsupportedModelError:
    """The error for a node that the translator cannot take."""
    return UnsupportedModelError(
        f"node {node.name!r} ({node.op}): {why}; the nhwc translator cannot take it. {REMEDY}"
    )


def make_plan(model: onnx.ModelProto) -> Plan:
    """Plan a network with one image (N, C, H, W) or vector (N, F) input, batch first, and one output.

    Raises:
        UnsupportedModelError: nodes that have no translation; all of unknown type are named at once.
    """
    from edgepress.translate.ops.table import PLANNERS

    nodes = [_node(proto, i) for i, proto in enumerate(model.graph.node)]
    _refuse_unknown(nodes, PLANNERS)
    planner = Planner(model)
    entry, last = _ends(model)
    shape = planner.shape(entry)
    planner.values[entry] = Value(entry, shape, channels_last(len(shape)))
    for node in nodes:
        PLANNERS[node.op](node, planner)
    output = planner.value(last)
    if output.layout != plain(len(output.shape)):
        node = Node("output", "output", (), (f"{output.name}.onnx",), {})
        output = planner.stored_as(node, output, plain(len(output.shape)))
    stored = tuple(int(shape[axis] or 1) for axis in channels_last(len(shape)).order[1:])
    return Plan(entry, stored, output.name, tuple(planner.steps))


def _refuse_unknown(nodes: list[Node], known: dict[str, OpPlanner]) -> None:
    strangers = [node for node in nodes if node.op not in known]
    if strangers:
        listed = ", ".join(f"{node.name!r} ({node.op})" for node in strangers)
        raise UnsupportedModelError(f"the nhwc translator has no translation for node {listed}. {REMEDY}")


def _node(proto: onnx.NodeProto, index: int) -> Node:
    name = proto.name or f"{proto.op_type}_{index}"
    return Node(proto.op_type, name, tuple(proto.input), tuple(proto.output), attributes(proto))


def _ends(model: onnx.ModelProto) -> tuple[str, str]:
    """The names of the one input and the one output."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry.name for entry in model.graph.input if entry.name not in constants]
    outputs = [output.name for output in model.graph.output]
    for kind, names in (("inputs", inputs), ("outputs", outputs)):
        if len(names) != 1:
            raise UnsupportedModelError(
                f"the model has {len(names)} {kind} ({', '.join(names)}); expected one"
            )
    return inputs[0], outputs[0]


def _shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    infos = [*inferred.input, *inferred.value_info, *inferred.output]
    return {info.name: tuple(_size(d) for d in info.type.tensor_type.shape.dim) for info in infos}


def _size(dimension: onnx.TensorShapeProto.Dimension) -> int | None:
    return dimension.dim_value if dimension.HasField("dim_value") else None


def _moves_nothing(order: tuple[int, ...], sizes: list[int | None]) -> bool:
    """Whether a transpose only moves axes of size 1, so that a reshape does the same."""
    kept = [axis for axis in order if sizes[axis] != 1]
    return kept == sorted(kept)


def _target(sizes: list[int | None]) -> list[int]:
    return [-1 if size is None else size for size in sizes]
