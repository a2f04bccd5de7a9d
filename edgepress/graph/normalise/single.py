"""Half and double precision as float32: no runtime for edge devices computes in either."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgepress.graph.normalise.tensors import attribute_tensors

_OTHERS = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
_TYPES = ("to", "dtype", "output_dtype")
"""The attributes that name a type of numbers."""


def compute_in_single(model: onnx.ModelProto) -> None:
    """Make every tensor of float16, bfloat16 or float64 one of float32, in place; casts and ends too.

    Numbers beyond float32's become its largest.
    """
    for tensor in [*model.graph.initializer, *attribute_tensors(model)]:
        if tensor.data_type in _OTHERS:
            largest = np.finfo(np.float32).max
            values = numpy_helper.to_array(tensor).astype(np.float64)
            finite = np.where(np.isfinite(values), np.clip(values, -largest, largest), values)
            tensor.CopyFrom(numpy_helper.from_array(finite.astype(np.float32), tensor.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name in _TYPES and attribute.i in _OTHERS:
                attribute.CopyFrom(helper.make_attribute(attribute.name, int(TensorProto.FLOAT)))
    for end in (*model.graph.input, *model.graph.output):
        if end.type.tensor_type.elem_type in _OTHERS:
            end.type.tensor_type.elem_type = TensorProto.FLOAT
