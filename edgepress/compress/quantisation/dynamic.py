"""onnxruntime's dynamic quantisation: int8 weights, activations quantised at run time.

Matrices have a scale for each output channel; onnxruntime knows only one for a whole convolution kernel.
"""

import tempfile
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from edgepress.compress.quantisation.qdq import without_advice
from edgepress.compress.quantisation.registry import Sources
from edgepress.config.quant import Dynamic
from edgepress.graph.batchnorm import fold_batchnorm
from edgepress.graph.formats import number_format


def quantise(model: onnx.ModelProto, config: Dynamic, sources: Sources) -> onnx.ModelProto:
    """Ensures: the result quantises its activations dynamically."""
    with tempfile.TemporaryDirectory() as folder, without_advice():
        source, target = Path(folder, "float.onnx"), Path(folder, "dynamic.onnx")
        onnx.save(fold_batchnorm(model), source)
        quantize_dynamic(source, target, per_channel=True, weight_type=QuantType.QInt8)
        quantised = onnx.load(target)
    assert number_format(quantised) == "dynamic"
    return quantised
