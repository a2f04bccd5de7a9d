"""The joins of a network: operators whose operands and result TFLite gives one scale.

A join is *visible* where its result reaches an output of the network without passing a layer of weights: then
every operand matters by itself. Else its readers' layers add the operands up.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import onnx

from edgepress.compress.quantisation.sharing import Ranges, moves
from edgepress.graph.view import attributes

_OPERANDS = {"Concat": slice(None), "Max": slice(None), "Min": slice(None), "Where": slice(1, 3)}

_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU")
_PARTS = ("Split", "Slice", "Gather")
_BOUNDED = ("Sigmoid", "Softmax", "Tanh", "HardSigmoid", "LogSoftmax", "ArgMax")
"""What these make has a range of its own, whatever was joined before."""


@dataclass(frozen=True)
class Join:
    """A node that joins; `operands` are the distinct tensors that get one range with its `result`."""

    node: onnx.NodeProto
    operands: tuple[str, ...]
    visible: bool

    @property
    def result(self) -> str:
        """The tensor that it makes."""
        return str(self.node.output[0])

    def bounds(self, ranges: Ranges) -> tuple[float, float]:
        """The range that holds all operands and the result."""
        bounds = [ranges[name] for name in (*self.operands, self.result)]
        return min(0.0, *(low for low, _ in bounds)), max(0.0, *(high for _, high in bounds))


def find_joins(model: onnx.ModelProto, ranges: Ranges) -> list[Join]:
    """All joins of two tensors or more whose ranges are known, in the graph's order."""
    found, seen = list[Join](), visible(model)
    for node in model.graph.node:
        if node.op_type == "Pad" and not moves(model, node) and len(node.input) > 2:
            named: Iterable[str] = (node.input[0], node.input[2])
        else:
            named = node.input[_OPERANDS[node.op_type]] if node.op_type in _OPERANDS else ()
        operands = tuple(dict.fromkeys(name for name in named if name in ranges))
        if operands and node.output[0] in ranges:
            found.append(Join(node, operands, node.output[0] in seen))
    return found


def visible(model: onnx.ModelProto) -> set[str]:
    """The tensors that reach an output of the network without passing a layer of weights."""
    found = {output.name for output in model.graph.output}
    for node in reversed(model.graph.node):
        if found.intersection(node.output) and not is_mixing(model, node):
            found.update(node.input)
    return found


def is_mixing(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    """Whether it is a layer of weights that adds up channels: a depthwise one keeps them apart."""
    if node.op_type not in _LAYERS:
        return False
    shape = next((tensor.dims for tensor in model.graph.initializer if tensor.name == node.input[1]), None)
    return not (node.op_type == "Conv" and attributes(node).get("group", 1) > 1 and shape and shape[1] == 1)


def followers(model: onnx.ModelProto, joins: Collection[str]) -> dict[str, str]:
    """The nodes that stay in floats because these joins do, by name, each with the join that it follows.

    They are all that read what was joined, up to the layers of weights that add the operands up, what takes
    the parts apart again, and functions that bound them alike.
    """
    floats, found = dict[str, str](), dict[str, str]()
    for node in model.graph.node:
        source = next((floats[name] for name in node.input if name in floats), "")
        if node.name in joins:
            source = node.name
        elif source:
            found[node.name] = source
        apart = is_mixing(model, node) or node.op_type in (*_PARTS, *_BOUNDED)
        if source and not apart:
            floats |= dict.fromkeys(node.output, source)
    return found


def own_ranges(groups: Mapping[str, set[str]], ranges: Ranges) -> dict[str, tuple[float, float]]:
    """The ranges, one for each group: what all of its tensors need."""
    result = dict(ranges)
    for group in groups.values():
        low, high = min(ranges[name][0] for name in group), max(ranges[name][1] for name in group)
        result |= dict.fromkeys(group, (low, high))
    return result
