"""Weights stored as float16 and computed with as float32, as TFLite's float16 models do."""

import numpy as np
import onnx

from edgepress.compress.quantisation.registry import Sources
from edgepress.config.quant import Fp16
from edgepress.errors import UnsupportedModelError
from edgepress.graph.batchnorm import fold_batchnorm
from edgepress.graph.codes import held_in_half
from edgepress.graph.view import Array, initializers, keep_initializers, replace_nodes
from edgepress.graph.weights import KERNEL_OPS

_LAYERS = (*KERNEL_OPS, "LSTM", "GRU", "RNN")


def quantise(model: onnx.ModelProto, config: Fp16, sources: Sources) -> onnx.ModelProto:
    """Each float32 initializer becomes a float16 one and a Cast back.

    Numbers beside the weights that float16 does not hold, such as masks of −10⁹ and what keeps a divisor from
    0, stay as they are.

    Raises:
        UnsupportedModelError: a weight is larger than float16's numbers.
    """
    halved = fold_batchnorm(model)
    weights = {name for node in halved.graph.node if node.op_type in _LAYERS for name in node.input[1:]}
    halves, casts, others = [], [], set[str]()
    for name, values in initializers(halved).items():
        if values.dtype != np.float32 or not (name in weights or held_in_half(values)):
            others.add(name)
            continue
        halves.append(onnx.numpy_helper.from_array(_halved(name, values), f"{name}.fp16"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.fp16"], [name], f"{name}.cast", to=1))
    keep_initializers(halved, others)
    halved.graph.initializer.extend(halves)
    replace_nodes(halved, [*casts, *halved.graph.node])
    return halved


def _halved(name: str, values: Array) -> Array:
    largest = float(np.abs(values).max(initial=0))
    if np.isfinite(largest) and largest > float(np.finfo(np.float16).max):
        raise UnsupportedModelError(
            f"quant=fp16: {name} holds {largest:g}, but float16 ends at 65504; choose another quant"
        )
    return values.astype(np.float16)
