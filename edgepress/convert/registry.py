"""The converters one can choose."""

from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

import onnx

from edgepress.config.convert import ConvertConfig, Nhwc, OnnxTf
from edgepress.datasets.prepared import Array
from edgepress.errors import ConfigError
from edgepress.graph.formats import number_format


class Converter(Protocol):
    """A way from ONNX to TFLite."""

    def __call__(self, model: onnx.ModelProto, int8_io: bool, calibration: Array) -> bytes:
        """Convert a model in any number format to a `.tflite` with batch 1, whose input is NHWC or NCHW as
        the converter's own layout is.

        `calibration` (n, C, H, W) float32 is for converters that find ranges themselves.

        Raises:
            UnsupportedModelError: the network holds something that the converter cannot translate.
            ConversionError: the conversion failed.
        """


_CONVERTERS = {
    Nhwc: ("nhwc", "edgepress.convert.nhwc:convert"),
    OnnxTf: ("onnx_tf", "edgepress.convert.onnx_tf:convert"),
}


@dataclass(frozen=True)
class Converted:
    """The `.tflite` files of the compressed network and of its float32 baseline."""

    converter: str
    candidate: bytes
    baseline: bytes


def convert_pair(
    candidate: onnx.ModelProto, baseline: onnx.ModelProto, config: ConvertConfig, calibration: Array
) -> Converted:
    """Convert both with the converter that the configuration selects.

    Raises:
        ConfigError: int8 input and output is asked of a network that is not int8.
        UnsupportedModelError, ConversionError: see `Converter`.
    """
    name, target = _CONVERTERS[type(config)]
    int8_io = _int8_io(config, candidate)
    module, function = target.split(":")
    convert: Converter = getattr(import_module(module), function)
    return Converted(name, convert(candidate, int8_io, calibration), convert(baseline, False, calibration))


def _int8_io(config: ConvertConfig, model: onnx.ModelProto) -> bool:
    form = number_format(model)
    if config.io_dtype == "int8" and form != "int8":
        raise ConfigError(
            f"convert.io_dtype is 'int8' but the network is {form}; "
            "expected auto or float32, or an int8 network (-S quant=int8)"
        )
    return form == "int8" and config.io_dtype != "float32"
