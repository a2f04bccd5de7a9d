"""The converters one can choose."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

import numpy as np
import onnx

from edgepress.config.convert import ConvertConfig, Nhwc, OnnxTf
from edgepress.convert.pieces import Pieces
from edgepress.datasets.prepared import Array, Split
from edgepress.errors import ConfigError, choose, setting
from edgepress.graph.about import said
from edgepress.graph.formats import INTEGERS, number_format
from edgepress.graph.kept_floats import stays_float
from edgepress.graph.view import producers
from edgepress.translate.ends import end_orders, network_channels
from edgepress.translate.layout import Order, channels_last

Orders = Mapping[str, tuple[int, ...]]


class Converter(Protocol):
    """A way from ONNX to TFLite."""

    def __call__(
        self,
        model: onnx.ModelProto,
        int8_io: bool,
        calibration: Array,
        orders: Orders | None = None,
        about: Mapping[str, str] | None = None,
    ) -> Pieces:
        """Convert a model in any number format to a `.tflite` with batch 1, whose input is NHWC or NCHW as
        the converter's own layout is.

        `calibration` (n, C, H, W) float32 is for converters that find ranges themselves. `orders` says, by
        name, how the axes of inputs and outputs are stored: stored axis i holds ONNX axis `order[i]`.
        `about` is what the file is to say of the network, where the converter can, as `edgepress.graph.about`
        has it.

        Raises:
            ConfigError: the converter cannot store them so.
            UnsupportedModelError: the network holds something that the converter cannot translate.
            ConversionError: the conversion failed.
        """


_CONVERTERS = {
    Nhwc: ("nhwc", "edgepress.convert.nhwc:convert"),
    OnnxTf: ("onnx_tf", "edgepress.convert.onnx_tf:convert"),
}


def pipeline_orders(model: onnx.ModelProto, config: ConvertConfig, images: bool) -> dict[str, Order]:
    """How the pipeline's files store the axes of inputs and outputs, all inputs first, by name.

    An only input of images or vectors (N, C, H, W) becomes (N, H, W, C); elsewhere the operators show what
    is an image. onnx_tf moves no axes.
    """
    found = end_orders(model, network_channels(model), isinstance(config, OnnxTf))
    if images and isinstance(config, Nhwc):
        found[model.graph.input[0].name] = channels_last(4).order
    return found


@dataclass(frozen=True)
class Converted:
    """The `.tflite` files of the compressed network and of its float32 baseline."""

    converter: str
    candidate: Pieces
    baseline: Pieces


def convert_pair(
    candidate: onnx.ModelProto,
    baseline: onnx.ModelProto,
    config: ConvertConfig,
    calibration: Array,
    orders: Orders | None = None,
) -> Converted:
    """Convert both with the converter that the configuration selects; `orders` is as in `Converter`.

    Raises:
        ConfigError: input and output of a type are asked of a network whose activations have another.
        UnsupportedModelError, ConversionError: see `Converter`.
    """
    int8_io, (name, convert) = _int8_io(config, candidate), _converter(config)
    files = (
        convert(model, codes, calibration, orders, _about(config, model))
        for model, codes in ((candidate, int8_io), (baseline, False))
    )
    return Converted(name, *files)


def convert_single(
    model: onnx.ModelProto, config: ConvertConfig, calibration: Array, orders: Orders | None = None
) -> Pieces:
    """Convert one model with the converter that the configuration selects; raises as `convert_pair`.

    `orders` is as in `Converter`; without it inputs are images, as those of the pipeline are.
    """
    int8_io, (_, convert) = _int8_io(config, model), _converter(config)
    return convert(model, int8_io, calibration, orders, _about(config, model))


def calibration_images(calibration: Split) -> Array:
    """The images or vectors (n, C, H, W) for converters that find ranges themselves; none of other inputs."""
    return np.zeros((0, 0), np.float32) if calibration.named else calibration.inputs()


def _about(config: ConvertConfig, model: onnx.ModelProto) -> dict[str, str]:
    """What a converted model says of itself: what the ONNX model says, if the configuration wants that."""
    return said(model) if isinstance(config, Nhwc) and config.metadata else {}


def _converter(config: ConvertConfig) -> tuple[str, Converter]:
    name, target = _CONVERTERS[type(config)]
    module, function = target.split(":")
    return name, getattr(import_module(module), function)


def _int8_io(config: ConvertConfig, model: onnx.ModelProto) -> bool:
    form, wanted = number_format(model), config.io_dtype
    if wanted in _QUANT_OF and INTEGERS.get(form) != wanted:
        raise ConfigError(
            f"{setting('convert.io_dtype')} is {wanted!r} but the network is {form}; "
            f"expected auto or float32, or an {wanted} network ({choose('quant', _QUANT_OF[wanted])})"
        )
    if wanted in _QUANT_OF and (floats := _float_outputs(model)):
        raise ConfigError(
            f"{setting('convert.io_dtype')} is {wanted!r} but the network computes its output {floats[0]!r} "
            "in float32, since it joins what differs in magnitude; expected auto or float32, or a network "
            "that gives that as outputs of their own"
        )
    return form in INTEGERS and wanted != "float32"


_QUANT_OF = {"int8": "int8", "int16": "int16x8"}
"""What makes a network that takes and gives integers of a type."""


def _float_outputs(model: onnx.ModelProto) -> list[str]:
    """The outputs of a quantised network that follow a join in floats."""
    made = producers(model)
    return [one.name for one in model.graph.output if one.name in made and stays_float(made[one.name])]
