"""From operator to what writes its body."""

from collections.abc import Callable, Mapping

import onnx

from edgepress.translate.written import along_axes, codes, kernels, mathematics, spectra, sums, volumes
from edgepress.translate.written.body import Writer

BODIES: dict[str, Writer] = {
    **mathematics.WRITERS,
    **along_axes.WRITERS,
    **spectra.WRITERS,
    **sums.WRITERS,
    **codes.WRITERS,
    **volumes.WRITERS,
    **kernels.WRITERS,
}

SPECIAL: dict[str, Callable[[onnx.NodeProto, Mapping[str, onnx.TensorProto]], bool]] = {
    "Einsum": sums.is_special,
    "CenterCropPad": lambda node, constants: node.input[1] not in constants,
    "Conv": kernels.is_special,
    "ConvTranspose": volumes.is_special,
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), codes.is_special),
}
"""Of operators that have planners, which nodes are written out, given all constants by name."""
