"""In which layouts a tensor's readers can take it as it is: where data has to move anyway, it moves there.

A wish is a set of orders, as in `Layout.order`. It is only a look ahead: whatever comes, each operator still
asks for the layout that it needs.
"""

from collections.abc import Callable, Iterable, Mapping

import onnx

from edgepress.graph.view import attributes
from edgepress.translate.layout import Order, Sizes, channels_last, plain

Wish = frozenset[Order]

NONE: Wish = frozenset()
_FAR = 8
"""So many nodes ahead a reader's wish still counts."""

_IMAGE = (
    "AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "DepthToSpace", "GlobalAveragePool",
    "GlobalMaxPool", "MaxPool", "Resize", "SpaceToDepth", "Upsample",
)  # fmt: skip
_KEEPING = (
    "Add", "Cast", "Clip", "Concat", "DequantizeLinear", "Div", "Dropout", "Elu", "Erf", "Gelu",
    "GroupNormalization", "HardSigmoid", "HardSwish", "Identity", "LayerNormalization", "LeakyRelu",
    "Mul", "Neg", "PRelu", "Pad", "Pow", "QuantizeLinear", "Relu", "Sigmoid", "Slice", "Softmax",
    "Split", "Sqrt", "Sub", "Tanh",
)  # fmt: skip
"""What these make is stored as their operand is."""


class Wishes:
    """What the readers of each tensor of a graph would like."""

    def __init__(
        self,
        readers: Mapping[str, list[onnx.NodeProto]],
        constants: Mapping[str, Sizes],
        outputs: Mapping[str, Order],
        shape: Callable[[str], Sizes],
    ) -> None:
        self._readers, self._constants, self._shape = readers, constants, shape
        self._outputs = outputs

    def of(self, name: str, far: int = _FAR) -> Wish:
        """The orders that suit all readers with an opinion; empty where none has one, or they differ."""
        wishes = [self._by(node, name, far) for node in self._readers.get(name, [])] if far else []
        if name in self._outputs:
            wishes.append(frozenset([self._outputs[name]]))
        return _common(wishes)

    def _by(self, node: onnx.NodeProto, name: str, far: int) -> Wish:
        rank = len(self._shape(name))
        if node.op_type in _IMAGE:
            return frozenset([channels_last(rank).order]) if name == node.input[0] else NONE
        if node.op_type in ("MatMul", "Gemm"):
            return self._of_product(node, name, rank)
        made = [each for each in node.output if each]
        if node.op_type in _KEEPING and all(len(self._shape(each)) == rank for each in made):
            return _common(self.of(each, far - 1) for each in made)
        if node.op_type == "Transpose":
            return self._before_transpose(node, rank, far)
        if node.op_type == "Gather" and node.input[1] in self._constants and name == node.input[0]:
            return self._before_gather(node, rank, far)
        if node.op_type in ("Reshape", "Squeeze", "Unsqueeze", "Flatten"):
            return self._before_reshape(node, name, far)
        return NONE

    def _of_product(self, node: onnx.NodeProto, name: str, rank: int) -> Wish:
        """A layer of weights takes rows, a product of two tensors either of them turned."""
        order = plain(rank).order
        other = node.input[1] if name == node.input[0] else node.input[0]
        if rank < 2 or node.op_type == "Gemm" or other in self._constants:
            return frozenset([order])
        return frozenset([order, turned(order)])

    def _before_transpose(self, node: onnx.NodeProto, rank: int, far: int) -> Wish:
        perm = attributes(node).get("perm", list(range(rank))[::-1])
        return frozenset(tuple(perm[axis] for axis in order) for order in self.of(node.output[0], far - 1))

    def _before_gather(self, node: onnx.NodeProto, rank: int, far: int) -> Wish:
        """Where one element of an axis is picked, the axis is best stored first: then picking is cutting."""
        axis = attributes(node).get("axis", 0) % rank
        after = self.of(node.output[0], far - 1)
        if len(self._constants[node.input[1]]):
            return after if len(self._constants[node.input[1]]) == 1 else NONE
        return frozenset((axis, *(one + (one >= axis) for one in order)) for order in after)

    def _before_reshape(self, node: onnx.NodeProto, name: str, far: int) -> Wish:
        """Through a reshape that only adds or drops axes of size 1."""
        shape, target = self._shape(name), self._shape(node.output[0])
        kept, made = ([axis for axis, size in enumerate(sizes) if size != 1] for sizes in (shape, target))
        if [shape[axis] for axis in kept] != [target[axis] for axis in made]:
            return NONE
        ones = [axis for axis, size in enumerate(shape) if size == 1]
        back = dict(zip(made, kept, strict=True))
        return frozenset(
            (*ones, *(back[axis] for axis in order if axis in back))
            for order in self.of(node.output[0], far - 1)
        )


def turned(order: Order) -> Order:
    """The last two stored axes swapped."""
    return (*order[:-2], order[-1], order[-2])


def nearest(order: Order, wish: Wish) -> Order:
    """The wished order that moves the least: none, or one whose rows stay together."""
    return min(wish, key=lambda wished: (wished != order, wished[-1:] != order[-1:], wished))


def _common(wishes: Iterable[Wish]) -> Wish:
    spoken = [wish for wish in wishes if wish]
    return spoken[0].intersection(*spoken[1:]) if spoken else NONE
