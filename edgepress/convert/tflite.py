"""TFLiteConverter, as the converter onnx_tf uses it."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from edgepress.datasets.prepared import Array
from edgepress.errors import ConversionError, setting
from edgepress.graph.formats import NumberFormat
from edgepress.translate.tensorflow_setup import quiet, tf

_PLACE = re.compile(r"/\S+?:\d+:\d+: ")
"""Where in TensorFlow's own files an error arose."""


def set_format(converter: Any, number_format: NumberFormat, int8_io: bool) -> None:
    """Ask for the number format in which the ONNX model already is.

    `Optimize.DEFAULT` alone makes int8 of a graph that carries fake quantisation, and dynamic-range
    weights of one that does not. TFLITE_BUILTINS_INT8 is not set: it demands a representative data set.
    """
    if number_format != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if number_format == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    if int8_io:
        converter.inference_input_type = converter.inference_output_type = tf.int8


def representative(inputs: Array) -> Callable[[], Iterator[list[Array]]]:
    """Calibration inputs one at a time, as TFLiteConverter wants them."""
    return lambda: ([sample[None]] for sample in inputs)


def with_output_names(content: bytes, signed: Sequence[str], names: Sequence[str]) -> bytes:
    """The same model with the outputs that its signature calls `signed`, in this order, called `names`."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    graph = model.subgraphs[0]
    known = {entry.name.decode(): entry.tensorIndex for entry in model.signatureDefs[0].outputs}
    graph.outputs = [known[name] for name in signed]
    for index, name in zip(graph.outputs, names, strict=True):
        graph.tensors[index].name = name.encode()
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def run(converter: Any, name: str) -> bytes:
    """Convert, without the converter's noise.

    Raises:
        ConversionError: it failed; the message holds the converter's first line.
    """
    try:
        with quiet():
            content: bytes = converter.convert()
    except Exception as error:  # the converter raises whatever its native parts do
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = " ".join(_PLACE.sub(" ", lines[0]).split())[:300]
        raise ConversionError(
            f"TensorFlow's converter refused the network from the {name} converter: {reason}; "
            f"use {setting('convert', 'nhwc')}"
        ) from error
    return content
