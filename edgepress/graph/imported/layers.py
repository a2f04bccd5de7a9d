"""Layers in the one form that compression takes: weights of their own, matrix products without factors."""

from collections.abc import Mapping

import numpy as np
import onnx

from edgepress.graph.own_weights import own_weights
from edgepress.graph.view import Array, attributes, initializers, remove_unused_initializers, set_initializer


def plain_layers(model: onnx.ModelProto) -> None:
    """Rewrite in place, without changing what the network computes.

    Ensures: see `own_weights`; a Gemm with constant weights has no factors, and a bias (N,).
    """
    own_weights(model)
    known = initializers(model)
    for node in model.graph.node:
        if node.op_type == "Gemm" and node.input[1] in known:
            with np.errstate(all="ignore"):  # factors may be anything
                _without_factors(model, node, known)
    remove_unused_initializers(model)


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
