"""Joins in floats of a quantised `.tflite`: operators that join what was in codes of several scales."""

from collections.abc import Iterator, Mapping

from edgepress.convert.tflite_model import Graph, Operator, Tensor
from edgepress.graph.kept_floats import Bounds, FloatJoin, joined_ranges
from edgepress.text import one_line

_JOINS = ("CONCATENATION", "MAXIMUM", "MINIMUM", "SELECT", "SELECT_V2", "PADV2")


def tflite_float_joins(graph: Graph) -> Iterator[FloatJoin]:
    """The joins of several ranges that are computed in floats, with what one range would leave of them."""
    makers = {index: operator for operator in graph.operators for index in operator.outputs}
    for operator in graph.operators:
        if operator.name in _JOINS and graph.tensors[operator.outputs[0]].dtype == "FLOAT32":
            ranges = dict(_ranges(graph, operator, makers))
            if len(ranges) > 1 and len(set(ranges.values())) > 1:
                name = _name(graph.tensors[operator.outputs[0]])
                bits = 16 if any(tensor.dtype == "INT16" for tensor in graph.tensors) else 8
                yield FloatJoin(name, operator.name, joined_ranges(ranges, bits=bits))


def _ranges(graph: Graph, join: Operator, makers: Mapping[int, Operator]) -> Iterator[tuple[str, Bounds]]:
    """The operands in codes, and what these cover."""
    for index in join.inputs:
        maker = makers.get(index)
        if maker is not None and maker.name == "DEQUANTIZE":
            tensor = graph.tensors[maker.inputs[0]]
            if len(tensor.scales) == len(tensor.zero_points) == 1:
                step, zero = float(tensor.scales[0]), int(tensor.zero_points[0])
                half = 1 << 15 if tensor.dtype == "INT16" else 1 << 7
                yield _name(tensor), ((-half - zero) * step, (half - 1 - zero) * step)


def _name(tensor: Tensor) -> str:
    return one_line(tensor.name, 60)
