"""Pools that round their number of windows up, where onnx counts one window more than there is.

A last window that would begin behind the image and its first padding is left out, says the standard from
opset 22 on, and ONNX Runtime at any opset. onnx infers one more, as the standard said before.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from edgepress.graph.normalise.native import inferred
from edgepress.graph.view import attributes, replace_nodes, set_initializer

_POOLS = ("MaxPool", "AveragePool")
Pads = tuple[tuple[int, int], ...]


def count_windows(model: onnx.ModelProto) -> None:
    """Write such a pool, in place, with the padding that makes the right number without rounding up.

    Where the padding counts in a mean, it becomes a node of its own. The model is of opset 11 or newer.
    """
    while (found := _first(model)) is not None:
        node, pads, own = found
        nodes = [made for each in model.graph.node for made in _written(model, each, node, pads, own)]
        replace_nodes(model, nodes)


@dataclass(frozen=True)
class _Axis:
    size: int
    kernel: int
    stride: int
    before: int
    after: int

    @property
    def windows(self) -> int:
        """How many there are if their number is rounded up."""
        return -(-(self.size + self.before + self.after - self.kernel) // self.stride) + 1

    @property
    def drops(self) -> bool:
        return (self.windows - 1) * self.stride >= self.size + self.before

    @property
    def reach(self) -> int:
        """The padding behind the image that the windows reach into, at least its own."""
        last = (self.windows - 1 - self.drops) * self.stride + self.kernel
        return max(self.after, last - self.size - self.before)


def _first(model: onnx.ModelProto) -> tuple[onnx.NodeProto, Pads, Pads] | None:
    """The first pool of which onnx counts too many windows, the padding it needs and its own."""
    pools = [n for n in model.graph.node if n.op_type in _POOLS and attributes(n).get("ceil_mode", 0)]
    shapes = inferred(model) if pools else {}
    for node in pools:
        if node.input[0] not in shapes or attributes(node).get("auto_pad", "NOTSET").startswith("SAME"):
            continue
        dims = shapes[node.input[0]].type.tensor_type.shape.dim[2:]
        axes = _axes(node, [dim.dim_value for dim in dims])
        if all(axis.size > 0 for axis in axes) and any(axis.drops for axis in axes):
            own = tuple((axis.before, axis.after) for axis in axes)
            return node, tuple((axis.before, axis.reach) for axis in axes), own
    return None


def _axes(node: onnx.NodeProto, sizes: list[int]) -> list[_Axis]:
    given, rank = attributes(node), len(sizes)
    strides, dilations = given.get("strides", [1] * rank), given.get("dilations", [1] * rank)
    pads = [0] * 2 * rank if given.get("auto_pad") == "VALID" else given.get("pads", [0] * 2 * rank)
    reaches = [(k - 1) * d + 1 for k, d in zip(given["kernel_shape"], dilations, strict=True)]
    values = zip(sizes, reaches, strides, pads[:rank], pads[rank:], strict=True)
    return [_Axis(*each) for each in values]


def _written(
    model: onnx.ModelProto, node: onnx.NodeProto, pool: onnx.NodeProto, pads: Pads, own: Pads
) -> list[onnx.NodeProto]:
    if node is not pool:
        return [node]
    made, padding = onnx.NodeProto(), list[onnx.NodeProto]()
    made.CopyFrom(node)
    if attributes(node).get("count_include_pad", 0) and pads != own:
        padding = [_padding(model, made, own)]
        pads = tuple((0, wide[1] - given[1]) for wide, given in zip(pads, own, strict=True))
    changes = {
        "ceil_mode": 0,
        "auto_pad": "NOTSET",
        "pads": [one for side in zip(*pads, strict=True) for one in side],
    }
    if padding:
        changes["count_include_pad"] = 0
    kept = [attribute for attribute in made.attribute if attribute.name not in changes]
    del made.attribute[:]
    made.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in changes.items())])
    return [*padding, made]


def _padding(model: onnx.ModelProto, pool: onnx.NodeProto, own: Pads) -> onnx.NodeProto:
    """The pool's own padding as a node before it, which then counts like the image."""
    source, name = pool.input[0], f"{pool.output[0]}.padded"
    flat = [one for side in zip((0, 0), (0, 0), *own, strict=True) for one in side]
    set_initializer(model, f"{name}.pads", np.array(flat, np.int64))
    pool.input[0] = name
    return helper.make_node("Pad", [source, f"{name}.pads"], [name], name)
