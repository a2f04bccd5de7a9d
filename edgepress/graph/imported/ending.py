"""What a classifier ends in: a Softmax or the like, which stages that train on logits do without."""

import math

import numpy as np
import onnx

from edgepress.graph.normalise.native import inferred
from edgepress.graph.view import Array, attributes, consumers, last_operator, replace_nodes

SHARES = ("Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid")
"""The operators that make shares, or their logarithms, of logits."""

TAKE_OFF = (
    "Training takes the Softmax itself, so expected are logits: take the last activation off the network; "
    "finished models give logits, of which the largest is the class"
)
"""The remedy for a network that ends in one."""

_ALIKE = 1e-3


def drop_activation(model: onnx.ModelProto) -> onnx.NodeProto | None:
    """Take a Softmax or the like away from the end, in place, however its result is reshaped afterwards.

    Returns:
        The node that was taken away, if there was one.
    """
    last = last_operator(model)
    if last is None or last.op_type not in SHARES or not _read_once(model, last.output[0]):
        return None
    if "Softmax" in last.op_type and not _over_classes(model, last):
        return None
    dropped, name = onnx.NodeProto.FromString(last.SerializeToString()), last.input[0]
    replace_nodes(model, [node for node in model.graph.node if last.output[0] not in node.output])
    for node in model.graph.node:
        node.input[:] = [name if one == dropped.output[0] else one for one in node.input]
    if model.graph.output[0].name == dropped.output[0]:
        model.graph.output[0].name = name
    return dropped


def shares_in(outputs: Array) -> str:
    """`Softmax` or `LogSoftmax`, if one in any spelling made these rows (N, classes); else nothing."""
    for what, shares in (("Softmax", outputs), ("LogSoftmax", np.exp(outputs.astype(np.float64)))):
        if shares.shape[1] > 1 and (shares >= 0).all() and (abs(shares.sum(axis=1) - 1) < _ALIKE).all():
            return what
    return ""


def activated(node: onnx.NodeProto, logits: Array) -> Array:
    """What a node that was taken away makes of logits (N, classes)."""
    if node.op_type == "Sigmoid":
        apart: Array = 1 / (1 + np.exp(-logits))
        return apart
    if node.op_type == "HardSigmoid":
        given = attributes(node)
        clipped: Array = np.clip(given.get("alpha", 0.2) * logits + given.get("beta", 0.5), 0, 1)
        return clipped
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Array = exponents / exponents.sum(axis=1, keepdims=True)
    return shares if node.op_type == "Softmax" else np.log(shares)


def _read_once(model: onnx.ModelProto, name: str) -> bool:
    """Whether nothing but what shapes the output reads a tensor, or what is made of it on the way there."""
    readers, output = consumers(model), model.graph.output[0].name
    while name != output:
        if len(readers[name]) != 1:
            return False
        name = readers[name][0].output[0]
    return not readers[output]


def _over_classes(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    """Whether a Softmax goes over all classes of a sample, and nothing else."""
    known = {info.name: info for info in (*inferred(model).values(), *model.graph.input, *model.graph.output)}
    sizes = [_sizes(known.get(name)) for name in (node.input[0], model.graph.output[0].name)]
    axis = int(attributes(node).get("axis", -1))
    if not sizes[0]:
        return node.output[0] == model.graph.output[0].name and axis in (-1, 1)
    axis %= len(sizes[0])
    return axis > 0 and sizes[0][axis] == math.prod(sizes[0][1:]) == math.prod(sizes[1][1:])


def _sizes(info: onnx.ValueInfoProto | None) -> list[int]:
    """The sizes of a tensor, of which those that are not known are 0; none if nothing is known."""
    return [] if info is None else [dim.dim_value for dim in info.type.tensor_type.shape.dim]
