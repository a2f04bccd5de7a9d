"""Constants stored as float16, of which the runtime makes float32 before it computes."""

from typing import Any

import numpy as np

from edgepress.convert.writer.distinct import content_key
from edgepress.convert.writer.graph import Graph, Operator, Tensor
from edgepress.graph.codes import held_in_half

_LEAST = 64
"""Constants of fewer elements would take more bytes: each needs an operator of its own."""


def halved(graph: Graph) -> Graph:
    """The network, and those within it, with large float32 constants as float16 behind DEQUANTIZE."""
    for each in graph.whole():
        _halve(each)
    return graph


def _halve(graph: Graph) -> None:
    made: dict[Any, Tensor] = {}
    added = list[Operator]()
    for operator in graph.operators:
        for place, tensor in enumerate(operator.inputs):
            if tensor is None or not _is_large(tensor):
                continue
            assert tensor.values is not None
            key = (content_key(tensor.values), tensor.shape)
            if key not in made:
                half = Tensor(tensor.name, tensor.shape, "float16", None, tensor.values.astype(np.float16))
                made[key] = Tensor("", tensor.shape)
                added.append(Operator("DEQUANTIZE", [half], [made[key]], nodes=operator.nodes))
            operator.inputs[place] = made[key]
    graph.operators = [*added, *graph.operators]


def _is_large(tensor: Tensor) -> bool:
    """Whether float16 has the numbers, and these are many."""
    values = tensor.values
    return values is not None and tensor.dtype == "float32" and values.size >= _LEAST and held_in_half(values)
