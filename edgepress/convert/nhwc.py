"""The default converter: the project's own translator, NHWC throughout, with the ONNX model's ranges."""

import onnx

from edgepress.convert.tflite import run, set_format
from edgepress.datasets.prepared import Array
from edgepress.graph.batchnorm import fold_batchnorm
from edgepress.graph.formats import number_format, to_float
from edgepress.translate.function_face import concrete_function
from edgepress.translate.planner import make_plan
from edgepress.translate.tensorflow_setup import quiet, tf


def convert(model: onnx.ModelProto, int8_io: bool, calibration: Array) -> bytes:
    """ONNX → TFLite with NHWC input; quantised exactly as the ONNX model is, so `calibration` is not read."""
    form = number_format(model)
    source = to_float(model) if form in ("dynamic", "fp16") else model
    plan = make_plan(fold_batchnorm(source))
    with quiet():
        function = concrete_function(plan)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    set_format(converter, form, int8_io)
    return run(converter, "nhwc")
