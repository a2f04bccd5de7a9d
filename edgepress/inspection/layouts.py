"""Which axes of a `.tflite`'s tensors are channels, as its operators show."""

from collections.abc import Iterator

from edgepress.convert.tflite_model import Graph, Operator
from edgepress.graph.axes import Axes, Axis

_IMAGES = {
    **dict.fromkeys(
        ("AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "L2_POOL_2D",
         "LOCAL_RESPONSE_NORMALIZATION", "MAX_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR",
         "SPACE_TO_DEPTH"), 0,
    ),
    "TRANSPOSE_CONV": 2,
}  # fmt: skip
"""TFLite has them in NHWC only; which operand the image is."""

_TOGETHER = (
    "ABS", "ADD", "ADD_N", "BROADCAST_TO", "CAST", "CEIL", "CONCATENATION", "COS", "DEQUANTIZE", "DIV", "ELU",
    "EQUAL", "EXP", "FLOOR", "GELU", "GREATER", "GREATER_EQUAL", "HARD_SWISH", "LEAKY_RELU", "LESS",
    "LESS_EQUAL", "LOG", "LOGICAL_AND", "LOGICAL_NOT", "LOGICAL_OR", "LOGISTIC", "LOG_SOFTMAX", "MAXIMUM",
    "MEAN", "MINIMUM", "MIRROR_PAD", "MUL", "NEG", "NOT_EQUAL", "PAD", "PADV2", "POW", "PRELU", "QUANTIZE",
    "REDUCE_MAX", "REDUCE_MIN", "RELU", "RELU6", "RELU_N1_TO_1", "ROUND", "RSQRT", "SELECT_V2", "SIGN", "SIN",
    "SLICE", "SOFTMAX", "SPLIT", "SPLIT_V", "SQRT", "SQUARE", "SQUARED_DIFFERENCE", "STRIDED_SLICE", "SUB",
    "SUM", "TANH", "TILE",
)  # fmt: skip
"""What they make has the axes of what they read, where it has as many."""


def axes_of(graph: Graph) -> Axes:
    """The axes of a graph's tensors, by the tensors' indices."""
    axes = Axes()
    for operator in graph.operators:
        axes.join(_joined(graph, operator))
        axes.mark(_shown(graph, operator))
    return axes


def order_of(graph: Graph, transpose: Operator) -> tuple[int, ...] | None:
    """The order of a TRANSPOSE operator, None where it is not constant."""
    data = graph.tensors[transpose.inputs[1]].data if len(transpose.inputs) > 1 else None
    return None if data is None else tuple(int(axis) for axis in data.reshape(-1)[:16])


def _shown(graph: Graph, operator: Operator) -> Iterator[Axis]:
    place = _IMAGES.get(operator.name)
    if place is not None and len(operator.inputs) > place:
        ends = [operator.inputs[place], *operator.outputs]
        yield from ((index, 3) for index in ends if _rank(graph, index) == 4)


def _joined(graph: Graph, operator: Operator) -> Iterator[tuple[Axis, Axis]]:
    if operator.name == "TRANSPOSE" and operator.outputs:
        order, source, result = order_of(graph, operator), operator.inputs[0], operator.outputs[0]
        yield from (((source, axis), (result, place)) for place, axis in enumerate(order or ()))
    elif operator.name in _TOGETHER:
        computed = [index for index in operator.inputs if index >= 0 and not graph.tensors[index].constant]
        for source in computed:
            for result in operator.outputs:
                rank = _rank(graph, source)
                if rank == _rank(graph, result):
                    yield from (((source, axis), (result, axis)) for axis in range(rank))


def _rank(graph: Graph, index: int) -> int:
    return len(graph.tensors[index].shape) if index >= 0 else 0
