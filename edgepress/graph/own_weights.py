"""Weights that each layer has for itself."""

from collections.abc import Iterator

import onnx

from edgepress.graph.view import initializers
from edgepress.graph.weights import KERNEL_OPS

_LAYERS = (*KERNEL_OPS, "BatchNormalization")


def own_weights(model: onnx.ModelProto) -> None:
    """Give each layer, in place, initializers that nothing else reads; the model computes the same.

    Exporters store equal ones once, and networks use layers twice, but compression moves them apart.
    """
    known = initializers(model)
    weights = list(_weights(model))
    places = set(weights)
    taken = {
        name
        for number, node in enumerate(model.graph.node)
        for place, name in enumerate(node.input)
        if (number, place) not in places
    }
    for number, place in weights:
        node = model.graph.node[number]
        name = node.input[place]
        if name in taken and name in known:
            node.input[place] = f"{name}.{node.output[0]}"
            known.set(node.input[place], known[name])
        taken.add(name)


def _weights(model: onnx.ModelProto) -> Iterator[tuple[int, int]]:
    """Where layers have their weights: the number of the node, and the place among its inputs."""
    for number, node in enumerate(model.graph.node):
        if node.op_type in _LAYERS:
            yield from ((number, place) for place in range(1, len(node.input)))
