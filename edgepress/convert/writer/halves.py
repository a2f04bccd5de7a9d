"""Constants stored as float16, of which the runtime makes float32 before it computes."""

import numpy as np

from edgepress.convert.writer.graph import Graph, Operator, Tensor

_LEAST = 64
"""Constants of fewer elements would take more bytes: each needs an operator of its own."""


def halved(graph: Graph) -> Graph:
    """The network, and those within it, with large float32 constants as float16 behind DEQUANTIZE."""
    for each in graph.whole():
        _halve(each)
    return graph


def _halve(graph: Graph) -> None:
    made: dict[int, Tensor] = {}
    added = list[Operator]()
    for operator in graph.operators:
        for place, tensor in enumerate(operator.inputs):
            if tensor is None or tensor.values is None or tensor.dtype != "float32" or tensor.size < _LEAST:
                continue
            if id(tensor) not in made:
                half = Tensor(tensor.name, tensor.shape, "float16", None, tensor.values.astype(np.float16))
                made[id(tensor)] = Tensor("", tensor.shape)
                added.append(Operator("DEQUANTIZE", [half], [made[id(tensor)]], nodes=operator.nodes))
            operator.inputs[place] = made[id(tensor)]
    graph.operators = [*added, *graph.operators]
