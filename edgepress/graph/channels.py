"""Which axis of a tensor holds the channels of an image, as the operators that read or make it show.

A rank shows nothing: (N, 32, 32, 3) may be an image with its channels last, (N, 8, 50, 50) the weights of an
attention. But a convolution's channels are axis 1 of what it reads and makes, and an addition, or a
transpose, in front of it has in its operands the axes that it has in its result. So axes that are the same by
such operators are joined, and those of a set with a convolution's channels in it are channels.
"""

from collections.abc import Iterator, Mapping

import onnx
from onnx import numpy_helper

from edgepress.graph.axes import Axes, Axis, Place, layout
from edgepress.graph.view import attributes

Sizes = tuple[int | None, ...]
Shapes = Mapping[str, Sizes]

_IMAGE = (
    "AveragePool", "BatchNormalization", "Conv", "ConvInteger", "ConvTranspose", "DeformConv", "DepthToSpace",
    "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "GridSample", "InstanceNormalization", "LRN",
    "LpPool", "MaxPool", "MaxUnpool", "QLinearConv", "SpaceToDepth",
)  # fmt: skip
"""Their first operand and their results have channels as axis 1."""

_ALONG = (
    "Abs", "BatchNormalization", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Cos", "CumSum",
    "DequantizeLinear", "Dropout", "Elu", "Erf", "Exp", "Expand", "Floor", "Gelu", "GroupNormalization",
    "HardSigmoid", "HardSwish", "Hardmax", "Identity", "InstanceNormalization", "LRN",
    "LayerNormalization", "LeakyRelu", "Log", "LogSoftmax", "LpNormalization",
    "MeanVarianceNormalization", "Mish", "Neg", "Not", "Pad", "QuantizeLinear", "RMSNormalization",
    "Reciprocal", "Relu", "Resize", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Slice",
    "Softmax", "Softplus", "Softsign", "Split", "Sqrt", "Swish", "Tanh", "ThresholdedRelu", "Tile",
    "TopK", "Trilu", "Upsample",
)  # fmt: skip
"""Each result has the axes of the first operand."""

_TOGETHER = (
    "Add", "And", "Concat", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean",
    "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor",
)  # fmt: skip
"""The result has the axes of all operands, counted from the last."""

_REDUCING = ("ArgMax", "ArgMin")
_RESIZING = ("Resize", "Upsample")


class Channels:
    """Where the tensors of a network have channels; `shapes` of as many of them as are known."""

    def __init__(self, model: onnx.ModelProto, shapes: Shapes) -> None:
        self._shapes, self._constants = shapes, {tensor.name: tensor for tensor in model.graph.initializer}
        self._axes = Axes()
        for node in model.graph.node:
            self._axes.join(self._joined(node))
            self._axes.mark(self._shown(node))

    def of(self, name: str) -> Place:
        """Where a tensor has its channels, as in `Axes.place`."""
        return self._axes.place(name, self.rank(name))

    def layout(self, name: str) -> str:
        """The usual name of a tensor's layout, e.g. 'NCHW'; '' where it is not known."""
        return layout(self.of(name), self.rank(name))

    def rank(self, name: str) -> int:
        """How many axes a tensor has, 0 where that is not known."""
        return len(self._shapes.get(name, ()))

    def _rank(self, name: str) -> int | None:
        if name in self._constants:
            return len(self._constants[name].dims)
        return len(self._shapes[name]) if name in self._shapes else None

    def _shown(self, node: onnx.NodeProto) -> Iterator[Axis]:
        """Axes that the node shows to be channels."""
        ends = [node.input[0], *(name for name in node.output if name)] if node.input else []
        if node.op_type in _IMAGE:
            yield from ((name, 1) for name in ends if (self._rank(name) or 0) >= 3)
        elif node.op_type in _RESIZING:
            kept = _unresized(*(self._shapes.get(name, ()) for name in (node.input[0], node.output[0])))
            yield from ((name, kept) for name in ends if kept is not None)

    def _joined(self, node: onnx.NodeProto) -> Iterator[tuple[Axis, Axis]]:
        """Pairs of axes that are the same in two tensors of the node."""
        operands = [name for name in node.input if name and name not in self._constants]
        if not operands or not node.output:
            return
        first, result = operands[0], node.output[0]
        if node.op_type in _TOGETHER:
            for name in operands:
                yield from self._from_the_last(name, result)
        elif first != node.input[0]:
            return
        elif node.op_type in _ALONG:
            for name in filter(None, node.output):
                yield from self._from_the_last(first, name)
        elif node.op_type == "Transpose":
            rank = self._rank(first) or 0
            perm = attributes(node).get("perm", list(range(rank))[::-1])
            yield from (((first, source), (result, place)) for place, source in enumerate(perm))
        elif (gone := self._dropped(node)) is not None:
            left = [axis for axis in range(self._rank(first) or 0) if axis not in gone]
            yield from (((first, source), (result, place)) for place, source in enumerate(left))

    def _from_the_last(self, name: str, result: str) -> Iterator[tuple[Axis, Axis]]:
        ranks = self._rank(name), self._rank(result)
        if ranks[0] is None or ranks[1] is None:
            return
        missing = ranks[1] - ranks[0]
        yield from (
            ((name, axis), (result, axis + missing)) for axis in range(ranks[0]) if axis + missing >= 0
        )

    def _dropped(self, node: onnx.NodeProto) -> list[int] | None:
        """The axes of the first operand that the result lacks; None if it has others in their place."""
        given, rank = attributes(node), self._rank(node.input[0])
        if rank is None:
            return None
        if node.op_type == "Gather" and (index := self._rank(node.input[1])) in (0, 1):
            return [] if index else [given.get("axis", 0) % rank]
        if node.op_type in _REDUCING:
            return [] if given.get("keepdims", 1) else [given.get("axis", 0) % rank]
        if not node.op_type.startswith("Reduce") and node.op_type != "Squeeze":
            return None
        if node.op_type != "Squeeze" and given.get("keepdims", 1):
            return []
        axes = given.get("axes")
        if axes is None and len(node.input) > 1 and node.input[1]:
            constant = self._constants.get(node.input[1])
            axes = None if constant is None else numpy_helper.to_array(constant).reshape(-1).tolist()
        return None if axes is None else [int(axis) % rank for axis in axes]


def _unresized(before: Sizes, after: Sizes) -> int | None:
    """The axis of an image, the second or the last, that resizing leaves while it changes all others."""
    if len(before) != len(after) or len(before) < 3:
        return None
    changed = [one != other for one, other in zip(before[1:], after[1:], strict=True)]
    if not changed[0] and all(changed[1:]):
        return 1
    return len(before) - 1 if not changed[-1] and all(changed[:-1]) else None


def channels_of(model: onnx.ModelProto, infos: Mapping[str, onnx.ValueInfoProto]) -> Channels:
    """Where the tensors of a network have channels; `infos` are their types and shapes as far as known."""
    return Channels(model, {name: _sizes(info) for name, info in infos.items() if _has_shape(info)})


def _has_shape(info: onnx.ValueInfoProto) -> bool:
    return bool(info.type.tensor_type.HasField("shape"))


def _sizes(info: onnx.ValueInfoProto) -> Sizes:
    dims = info.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
