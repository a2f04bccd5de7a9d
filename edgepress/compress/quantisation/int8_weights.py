"""Weights alone in int8: a quarter of the size, and the speed of float32, which a runtime makes of them."""

import numpy as np
import onnx

from edgepress.compress.codebooks.coded_kernels import coded_kernels
from edgepress.compress.quantisation.float_layers import float_kernels
from edgepress.compress.quantisation.kernel_codes import codes, largest_scales
from edgepress.compress.quantisation.qdq import int8_scales
from edgepress.compress.quantisation.registry import Sources
from edgepress.config.quant import Int8Weights
from edgepress.errors import UnsupportedModelError
from edgepress.graph.batchnorm import fold_batchnorm
from edgepress.graph.input_scaling import without_scaling
from edgepress.graph.stored_codes import as_numbers
from edgepress.graph.view import copy, remove_unused_initializers, replace_nodes
from edgepress.graph.weights import kernels


def quantise(model: onnx.ModelProto, config: Int8Weights, sources: Sources) -> onnx.ModelProto:
    """Each kernel as codes, and what makes numbers of them; all else is as in the float network.

    Shared codebooks of at most `sources.clusters` values stay shared.

    Raises:
        UnsupportedModelError: the network has no kernels.
    """
    coded = coded_kernels(model, sources.clusters)
    done = without_scaling(fold_batchnorm(model), whole=coded)
    folded = copy(done.model)
    found, nodes = kernels(folded), list[onnx.NodeProto]()
    if not found and not float_kernels(folded):
        raise UnsupportedModelError(
            "quant=int8_weights: the network has no convolution, matrix product or recurrent layer with "
            "constant weights; choose another quant"
        )
    for kernel in found:
        name, axis = kernel.initializer, kernel.channel_axis
        scales = largest_scales(kernel.values, axis)
        if name in coded:
            scales = int8_scales(coded[name].coded.scale) * np.float32(done.factors.get(name, 1.0))
        nodes += as_numbers(folded, name, codes(kernel.values, scales, axis), scales, axis)
    replaced = {kernel.initializer for kernel in found}
    kept = [tensor for tensor in folded.graph.initializer if tensor.name not in replaced]
    del folded.graph.initializer[:]
    folded.graph.initializer.extend(kept)
    replace_nodes(folded, [*nodes, *folded.graph.node])
    remove_unused_initializers(folded)
    return folded
