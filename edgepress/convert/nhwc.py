"""The default converter: the project's own translator, NHWC throughout, with the ONNX model's ranges."""

import onnx

from edgepress.convert.tflite import run, set_format, with_output_names
from edgepress.datasets.prepared import Array
from edgepress.graph.batchnorm import fold_batchnorm
from edgepress.graph.formats import number_format, to_float
from edgepress.translate.function_face import concrete_function
from edgepress.translate.planner import plan_graph
from edgepress.translate.tensorflow_setup import quiet, tf


def convert(model: onnx.ModelProto, int8_io: bool, calibration: Array) -> bytes:
    """ONNX → TFLite with images in NHWC; quantised exactly as the ONNX model is: `calibration` is not read.

    Several outputs keep their names and order.
    """
    form = number_format(model)
    source = to_float(model) if form in ("dynamic", "fp16") else model
    plan = plan_graph(fold_batchnorm(source))
    with quiet():
        function = concrete_function(plan)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    set_format(converter, form, int8_io)
    content = run(converter, "nhwc")
    names = [output.name for output in model.graph.output]
    return content if len(names) == 1 else with_output_names(content, names)
