"""How many rounds a Loop makes, where that follows from constants."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from edgepress.graph.aside import values_of
from edgepress.graph.view import Array, attributes, operands

_ENDLESS = 2**31 - 1
"""More rounds than that are as good as no limit, which is how exporters write one."""

_MOST_COUNTED = 1024
"""The condition is computed for so many rounds at most."""

_OF_SINGLE_NUMBERS = (
    "Abs", "Add", "And", "Cast", "CastLike", "Div", "Equal", "Greater", "GreaterOrEqual", "Identity", "Less",
    "LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Reshape", "Squeeze", "Sub", "Unsqueeze",
    "Where", "Xor",
)  # fmt: skip
"""What these make of single numbers is a single number, so no file can let a condition grow large."""

Constants = Mapping[str, onnx.TensorProto]
Opsets = Sequence[onnx.OperatorSetIdProto]


def rounds_of(node: onnx.NodeProto, constant: Constants, opsets: Opsets) -> int | None:
    """The number of rounds of a Loop; None where it depends on what is computed, or is not known.

    Args:
        node: the Loop.
        constant: the constants around it, by name.
        opsets: the model's.
    """
    body = attributes(node).get("body")
    if body is None or not 2 <= len(node.input) == len(body.input) <= len(body.output) + 1:
        return None
    name = node.input[0]
    if name and (name not in constant or values_of(constant[name]).size != 1):
        return None
    limit = int(values_of(constant[name]).item()) if name else _ENDLESS
    if goes_on(node, constant):
        return max(limit, 0) if limit < _ENDLESS else None
    return _counted(node, constant, max(limit, 0), opsets)


def goes_on(node: onnx.NodeProto, constant: Constants) -> bool:
    """Whether the condition of a Loop holds before the first round, and after each."""
    first = node.input[1]
    if first and not (first in constant and values_of(constant[first]).all()):
        return False
    body = attributes(node)["body"]
    makers = {name: each for each in body.node for name in each.output}
    made = body.output[0].name
    while made in makers and makers[made].op_type == "Identity":
        made = makers[made].input[0]
    held = {tensor.name: tensor for tensor in body.initializer}
    if made in makers and makers[made].op_type == "Constant" and "value" in attributes(makers[made]):
        return bool(np.all(values_of(attributes(makers[made])["value"])))
    known = held.get(made, constant.get(made))
    return bool(values_of(known).all()) if known is not None else made == body.input[1].name


def _counted(node: onnx.NodeProto, constant: Constants, limit: int, opsets: Opsets) -> int | None:
    """The rounds until the condition ends them, if it follows from constants round by round."""
    first = node.input[1]
    if first and first not in constant:
        return None
    if limit == 0 or (first and not values_of(constant[first]).all()):
        return 0
    body = attributes(node)["body"]
    starts = dict(zip((entry.name for entry in body.input[2:]), node.input[2:], strict=True))
    condition = _condition(body, constant)
    if condition is None or any(starts[name] not in constant for name in condition.states):
        return None
    values = [values_of(constant[starts[name]]) for name in condition.states]
    if any(value.size != 1 for value in values):
        return None
    try:
        return condition.rounds(values, min(limit, _MOST_COUNTED), limit, opsets)
    except Exception:  # what cannot be computed here is left to whoever reads the model to refuse
        return None


@dataclass(frozen=True)
class _Condition:
    """The part of a Loop's body that makes its condition, and the states that this part takes and renews."""

    graph: onnx.GraphProto
    count: str
    going: str
    states: list[str]

    def rounds(self, values: list[Array], most: int, limit: int, opsets: Opsets) -> int | None:
        """Those from these states on; None after `most` rounds that are less than `limit`."""
        from onnx.reference import ReferenceEvaluator

        evaluator = ReferenceEvaluator(onnx.helper.make_model(self.graph, opset_imports=opsets))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for number in range(most):
                given = dict(zip(self.states, values, strict=True))
                feeds = {self.count: np.array(number), self.going: np.array(True), **given}
                going, *values = evaluator.run(None, feeds)
                if not np.all(going):
                    return number + 1
        return most if most == limit else None


def _condition(body: onnx.GraphProto, constant: Constants) -> _Condition | None:
    """None where it takes what is no constant, or computes of more than single numbers."""
    renewed = dict(zip((entry.name for entry in body.input[2:]), body.output[1:], strict=False))
    nodes, states, wanted = list[onnx.NodeProto](), list[str](), [body.output[0].name]
    while True:
        nodes, read = _needed(body, wanted)
        fresh = [name for name in renewed if name in read and name not in states]
        if not fresh:
            break
        states += fresh
        wanted += [renewed[name].name for name in fresh]
    held = {**constant, **{tensor.name: tensor for tensor in body.initializer}}
    held |= {node.output[0]: attributes(node)["value"] for node in nodes if _is_constant(node)}
    nodes = [node for node in nodes if not _is_constant(node)]
    if any(node.op_type not in _OF_SINGLE_NUMBERS or node.domain not in ("", "ai.onnx") for node in nodes):
        return None
    outer = read - {entry.name for entry in body.input} - {name for node in nodes for name in node.output}
    if not outer <= held.keys() or any(values_of(held[name]).size > 1 for name in outer):
        return None
    count, going = (entry.name for entry in body.input[:2])
    info = onnx.helper.make_empty_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "condition",
        [*map(info, (count, going, *states))],
        [*map(info, wanted)],
        [_named(held[name], name) for name in outer],
    )
    return _Condition(graph, count, going, states)


def _is_constant(node: onnx.NodeProto) -> bool:
    return node.op_type == "Constant" and "value" in attributes(node)


def _named(tensor: onnx.TensorProto, name: str) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(values_of(tensor), name)


def _needed(body: onnx.GraphProto, wanted: list[str]) -> tuple[list[onnx.NodeProto], set[str]]:
    """The nodes that make these tensors, in their order, and the names of these and of all that is read."""
    read, nodes = set(wanted), list[onnx.NodeProto]()
    for node in reversed(body.node):
        if read.intersection(node.output):
            nodes.append(node)
            read.update(operands(node))
    return nodes[::-1], read
