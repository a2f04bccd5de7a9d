"""Weights of 4 bits under activations of 8: what int8 does, from kernels that are rounded more coarsely.

Of the forms of 4 bits that runtimes take, this is the one that is executed rather than expanded in each
inference: LiteRT's XNNPACK has dense layers of int8 by int4, as fast as those of int8, and TFLite Micro has
them, too. A 1×1 convolution is such a layer at each place of the image. ONNX Runtime expands the codes to
int8 as it loads the model, and runs that in integers; both runtimes then compute with the same numbers.
"""

import numpy as np
import onnx

from edgepress.compress.quantisation.compensating import compensated_codes, layer_inputs, shift
from edgepress.compress.quantisation.kernel_codes import codes, least_error_scales
from edgepress.compress.quantisation.preparing import prepared, rewritten
from edgepress.compress.quantisation.ptq import quantise_folded
from edgepress.compress.quantisation.registry import Sources
from edgepress.config.quant import Int4Weights
from edgepress.datasets.samples import Inputs
from edgepress.errors import UnsupportedModelError
from edgepress.graph.batchnorm import fold_batchnorm
from edgepress.graph.normalise.native import raise_opset
from edgepress.graph.stored_codes import in_four_bits
from edgepress.graph.view import (
    Array,
    attributes,
    consumers,
    copy,
    initializers,
    replace_nodes,
    set_initializer,
)
from edgepress.graph.weights import Kernel, kernels

_FIRST_OPSET = 21
"""From this opset on there are integers of 4 bits."""

_LARGEST = 7


def quantise(model: onnx.ModelProto, config: Int4Weights, sources: Sources) -> onnx.ModelProto:
    """Float → QDQ with int8 activations, and kernels of 4 bits where `Int4Weights` says so.

    Raises:
        UnsupportedModelError: the network has no kernel that a runtime executes with 4 bits.
    """
    inputs = sources.calibration(config.calibration.samples)
    folded = prepared(fold_batchnorm(rewritten(model)))
    found = kernels(folded)
    chosen = [kernel for kernel in found if _is_executed(kernel, config)]
    left = [kernel.node.name for kernel in found if not _is_executed(kernel, config)]
    if not chosen:
        raise UnsupportedModelError(
            "quant=int4_weights: the network has no kernel that a runtime executes with 4 bits; expected "
            f"dense layers or convolutions, but depthwise ones, of {config.least_weights} weights or more "
            f"(quant.least_weights){'' if config.spatial else ', or quant.spatial=true'}. Choose quant=int8"
        )
    coarse, scales = _rounded(folded, chosen, inputs)
    quantised = quantise_folded(coarse, config.calibration, inputs, scales, sources.tell, folded)
    if left:
        more = f" and {len(left) - 4} more" if len(left) > 4 else ""
        sources.tell(f"{', '.join(left[:4])}{more}: weights of 8 bits")
    return _stored(quantised, folded, list(scales))


def _rounded(
    model: onnx.ModelProto, chosen: list[Kernel], inputs: Inputs
) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """The model with these kernels rounded to 4 bits and biases that make up for it, and the scales."""
    coarse, scales, read = copy(model), dict[str, Array](), layer_inputs(model, chosen, inputs)
    held, readers = initializers(model), consumers(model)
    for kernel in chosen:
        name, axis, values = kernel.initializer, kernel.channel_axis, kernel.values
        scales[name] = least_error_scales(values, axis, _LARGEST)
        shape = [1] * values.ndim
        shape[axis] = -1
        known = read.get(name)
        if known is None:
            found = codes(values, scales[name], axis, _LARGEST)
        else:
            found = compensated_codes(values, scales[name], axis, _LARGEST, known)
        rounded = (found * scales[name].reshape(shape)).astype(np.float32)
        set_initializer(coarse, name, rounded)
        bias = kernel.node.input[2] if len(kernel.node.input) > 2 else ""
        if known is not None and bias in held and len(readers[bias]) == 1 and len(readers[name]) == 1:
            set_initializer(coarse, bias, held[bias] + shift(values, rounded, axis, known))
    return coarse, scales


def _is_executed(kernel: Kernel, config: Int4Weights) -> bool:
    """Whether LiteRT and TFLite Micro have kernels of int8 by int4 for it, and it is worth it."""
    values, node = kernel.values, kernel.node
    if values.size < config.least_weights or values.dtype != np.float32:
        return False
    if node.op_type == "Conv":
        if attributes(node).get("group", 1) > 1:
            return False
        strides = attributes(node).get("strides", [1])
        return config.spatial or (values[0, 0].size == 1 and max(strides) == 1)
    return node.op_type in ("Gemm", "MatMul") and values.ndim == 2


def _stored(quantised: onnx.ModelProto, folded: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """The codes in 4 bits; kernels of nodes that stay in floats get the numbers back that they had."""
    raise_opset(quantised, _FIRST_OPSET)
    held, exact, casts = initializers(quantised), initializers(folded), list[onnx.NodeProto]()
    for name in names:
        if f"{name}_quantized" in held:
            casts.append(in_four_bits(quantised, f"{name}_quantized"))
        elif name in held:
            set_initializer(quantised, name, exact[name])
    replace_nodes(quantised, [*casts, *quantised.graph.node])
    return quantised
