"""Layers in the one form that compression takes: weights of their own, matrix products without factors."""

from collections.abc import Iterator, Mapping

import numpy as np
import onnx

from edgepress.graph.view import Array, attributes, initializers, remove_unused_initializers, set_initializer
from edgepress.graph.weights import KERNEL_OPS

_LAYERS = (*KERNEL_OPS, "BatchNormalization")


def plain_layers(model: onnx.ModelProto) -> None:
    """Rewrite in place, without changing what the network computes.

    Ensures: each weight of a layer is an initializer that nothing else reads, since exporters store equal
    ones once and training moves them apart; a Gemm with constant weights has no factors, and a bias (N,).
    """
    _own_weights(model)
    known = initializers(model)
    for node in model.graph.node:
        if node.op_type == "Gemm" and node.input[1] in known:
            _without_factors(model, node, known)
    remove_unused_initializers(model)


def _own_weights(model: onnx.ModelProto) -> None:
    known = initializers(model)
    weights = list(_weights(model))
    taken = {
        name
        for number, node in enumerate(model.graph.node)
        for place, name in enumerate(node.input)
        if (number, place) not in weights
    }
    for number, place in weights:
        node = model.graph.node[number]
        name = node.input[place]
        if name in taken and name in known:
            node.input[place] = f"{name}.{node.output[0]}"
            set_initializer(model, node.input[place], known[name])
        taken.add(name)


def _weights(model: onnx.ModelProto) -> Iterator[tuple[int, int]]:
    """Where layers have their weights: the number of the node, and the place among its inputs."""
    for number, node in enumerate(model.graph.node):
        if node.op_type in _LAYERS:
            yield from ((number, place) for place in range(1, len(node.input)))


def _without_factors(model: onnx.ModelProto, node: onnx.NodeProto, known: Mapping[str, Array]) -> None:
    """Multiply `alpha` and `beta` into constant operands; with a computed bias the node stays as it is."""
    given, kernel = attributes(node), known[node.input[1]]
    alpha, beta = (given.get(key, 1.0) for key in ("alpha", "beta"))
    width = kernel.shape[0 if given.get("transB", 0) else 1]
    if len(node.input) > 2 and node.input[2]:
        bias = known.get(node.input[2])
        if bias is None or bias.size not in (1, width) or bias.shape[-1:] not in ((), (1,), (width,)):
            return
        row = np.broadcast_to((bias * beta).astype(np.float32).reshape(-1), width)
        set_initializer(model, node.input[2], row.copy())
    set_initializer(model, node.input[1], (kernel * alpha).astype(np.float32))
    kept = [a for a in node.attribute if a.name not in ("alpha", "beta")]
    del node.attribute[:]
    node.attribute.extend(kept)
