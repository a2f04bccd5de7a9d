"""`--quant`: the network in another number format, before it is converted."""

from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

import onnx

from edgepress.compress.quantisation.registry import Sources, quantiser
from edgepress.config.quant import (
    Calibration,
    Dynamic,
    Fp16,
    Int4Weights,
    Int8,
    Int8Weights,
    Int16x8,
    QuantConfig,
)
from edgepress.datasets.samples import Samples
from edgepress.errors import ConfigError, ConversionError, EdgepressError
from edgepress.graph.formats import number_format
from edgepress.standalone.request import SAMPLES, Request

_CALIBRATION = Calibration("minmax", SAMPLES, 2048, 99.99)
_QUANTS: dict[str, QuantConfig] = {
    "fp16": Fp16(),
    "dynamic": Dynamic(),
    "int8": Int8(per_channel=True, calibration=_CALIBRATION),
    "int16x8": Int16x8(_CALIBRATION),
    "int8_weights": Int8Weights(),
    "int4_weights": Int4Weights(spatial=True, least_weights=1024, calibration=_CALIBRATION),
}


def quantised_as_asked(
    request: Request,
    model: onnx.ModelProto,
    given: Samples | None,
    progress: Callable[[str], None],
    tell: Callable[[str], None],
) -> onnx.ModelProto:
    """The model in the number format that the request names.

    Args:
        request: with a `quant` other than none.
        model: normalised, in float32.
        given: calibration inputs, as the model takes them; None where the format needs none.
        progress: takes a line about what begins.
        tell: takes a line about what does not suit the format.

    Raises:
        ConfigError: the model is no float32 network.
        ConversionError: ONNX Runtime cannot quantise it.
    """
    form = number_format(model)
    if form != "float32":
        raise ConfigError(
            f"--quant is {request.quant} but {request.source} is {form} already; use --quant none"
        )
    progress(f"quantising to {request.quant}" + ("" if given is None else f" with {len(given)} inputs"))
    sources = Sources(lambda samples: _first(given, samples), _no_training, clusters=0, tell=tell)
    config = _QUANTS[request.quant]
    if isinstance(config, Int8) and request.per_tensor:
        config = replace(config, per_channel=False)
    try:
        return quantiser(config)(model, config, sources)
    except EdgepressError:
        raise
    except Exception as error:  # onnxruntime raises whatever its passes meet in a network from anywhere
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ConversionError(
            f"ONNX Runtime cannot quantise {request.source} to {request.quant} ({reason}); "
            "choose another --quant"
        ) from error


def _first(given: Samples | None, samples: int) -> Samples:
    assert given is not None, "the request would have been refused"
    return given[:samples]


def _no_training() -> NoReturn:
    raise AssertionError("none of these formats trains")
