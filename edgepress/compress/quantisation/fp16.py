"""Weights stored as float16 and computed with as float32, as TFLite's float16 models do."""

import numpy as np
import onnx

from edgepress.compress.quantisation.registry import Sources
from edgepress.config.quant import Fp16
from edgepress.errors import UnsupportedModelError
from edgepress.graph.batchnorm import fold_batchnorm
from edgepress.graph.view import Array, initializers, keep_initializers, replace_nodes


def quantise(model: onnx.ModelProto, config: Fp16, sources: Sources) -> onnx.ModelProto:
    """Each float32 initializer becomes a float16 one and a Cast back."""
    halved = fold_batchnorm(model)
    halves, casts, others = [], [], set[str]()
    for name, values in initializers(halved).items():
        if values.dtype != np.float32:
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
    if largest > float(np.finfo(np.float16).max):
        raise UnsupportedModelError(
            f"quant=fp16: {name} holds {largest:g}, but float16 ends at 65504; choose another quant"
        )
    return values.astype(np.float16)
