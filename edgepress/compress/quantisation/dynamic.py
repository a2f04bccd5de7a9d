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
from edgepress.errors import UnsupportedModelError
from edgepress.graph.batchnorm import fold_batchnorm
from edgepress.graph.formats import number_format
from edgepress.graph.normalise.structure import sort_nodes

_FLOATS = ("Gather", "LSTM")
"""Codes of a table's rows would go into a product as they are, which no TFLite kernel takes, and TFLite has
none for ONNX Runtime's quantised LSTM.
"""


def quantise(model: onnx.ModelProto, config: Dynamic, sources: Sources) -> onnx.ModelProto:
    """Ensures: the result quantises its activations dynamically.

    Raises:
        UnsupportedModelError: nothing in the network can be quantised so.
    """
    with tempfile.TemporaryDirectory() as folder, without_advice():
        source, target = Path(folder, "float.onnx"), Path(folder, "dynamic.onnx")
        folded = fold_batchnorm(model)
        onnx.save(folded, source)
        floats = [node.name for node in folded.graph.node if node.op_type in _FLOATS]
        quantize_dynamic(
            source, target, per_channel=True, weight_type=QuantType.QInt8, nodes_to_exclude=floats
        )
        quantised = onnx.load(target)
    sort_nodes(quantised)  # onnxruntime does not look at what loops and branches read
    if number_format(quantised) != "dynamic":
        raise UnsupportedModelError(
            "quant=dynamic: the network has no layer with constant weights of which ONNX Runtime makes "
            "integers, outside of branches and loops; choose another quant"
        )
    return quantised
