"""onnxruntime's dynamic quantisation: int8 weights, activations quantised at run time.

Matrices have a scale for each output channel; onnxruntime knows only one for a whole convolution kernel.
"""

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from edgepress.compress.quantisation.float_layers import float_kernels
from edgepress.compress.quantisation.qdq import without_advice
from edgepress.compress.quantisation.registry import Sources
from edgepress.config.quant import Dynamic
from edgepress.errors import UnsupportedModelError
from edgepress.graph.batchnorm import fold_batchnorm
from edgepress.graph.formats import number_format
from edgepress.graph.normalise.structure import sort_nodes
from edgepress.graph.view import attributes, consumers, initializers, remove_unused_initializers

_INTEGERS = ("Conv", "Gemm", "MatMul")
"""What gets codes. Those of a table's rows would go into a product as they are, which no TFLite kernel takes;
TFLite has none for ONNX Runtime's quantised LSTM, and ONNX's Attention is another one than ONNX Runtime's.
"""


def quantise(model: onnx.ModelProto, config: Dynamic, sources: Sources) -> onnx.ModelProto:
    """Ensures: the result quantises its activations dynamically, unless all layers are recurrent.

    Raises:
        UnsupportedModelError: nothing in the network can be quantised so.
    """
    with tempfile.TemporaryDirectory() as folder, without_advice():
        source, target = Path(folder, "float.onnx"), Path(folder, "dynamic.onnx")
        folded = fold_batchnorm(model)
        _turn_kernels(folded)
        onnx.save(folded, source)
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=list(_INTEGERS),
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_of_computed_kernels(folded),
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},  # for what has no inferred type
        )
        quantised = onnx.load(target)
    sort_nodes(quantised)  # onnxruntime does not look at what loops and branches read
    if number_format(quantised) != "dynamic" and not float_kernels(quantised):
        raise UnsupportedModelError(
            "quant=dynamic: the network has no layer with constant weights of which ONNX Runtime makes "
            "integers, outside of branches and loops; choose another quant"
        )
    return quantised


def _turn_kernels(model: onnx.ModelProto) -> None:
    """Let each Gemm read its kernel as a MatMul does, in place.

    onnxruntime turns a kernel over for each Gemm that has it transposed, and so twice where two share it.
    """
    constants, readers, done = initializers(model), consumers(model), dict[str, str]()
    for node in model.graph.node:
        kernel = node.input[1] if node.op_type == "Gemm" else ""
        if kernel not in constants or not attributes(node).get("transB", 0):
            continue
        if kernel not in done:
            alike = all(each.op_type == "Gemm" for each in readers[kernel])
            alike = alike and all(attributes(each).get("transB", 0) for each in readers[kernel])
            done[kernel] = kernel if alike else f"{kernel}.turned"
            constants.set(done[kernel], np.ascontiguousarray(constants[kernel].T))
        node.input[1] = done[kernel]
        others = [each for each in node.attribute if each.name != "transB"]
        del node.attribute[:]
        node.attribute.extend(others)
    remove_unused_initializers(model)


def _of_computed_kernels(model: onnx.ModelProto) -> list[str]:
    """The names of layers whose kernel is no constant, of which ONNX Runtime would make integers as well."""
    constants = initializers(model)
    layers = (node for node in model.graph.node if node.op_type in _INTEGERS)
    return [node.name for node in layers if node.input[1] not in constants]
