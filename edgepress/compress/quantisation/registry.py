"""The number formats one can choose."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

import onnx

from edgepress.compress.tuning.data import TuningData
from edgepress.config.quant import (
    Dynamic,
    Fp16,
    Int4Weights,
    Int8,
    Int8Qat,
    Int8Weights,
    Int16x8,
    QuantConfig,
)
from edgepress.datasets.samples import Inputs


@dataclass(frozen=True)
class Sources:
    """What a quantiser may read, fetched only when it does.

    `calibration(n)` gives n raw inputs, by name or those of an only one (n, ...). `clusters` is the size of
    the codebook that the kernels share and that must survive, 0 if none. `tell` takes a line that whoever
    runs it should read.
    """

    calibration: Callable[[int], Inputs]
    tuning: Callable[[], TuningData]
    clusters: int
    tell: Callable[[str], None] = print


class Quantiser(Protocol):
    """Turns a float32 model into one of another number format; BatchNormalization is folded."""

    def __call__(self, model: onnx.ModelProto, config: QuantConfig, sources: Sources) -> onnx.ModelProto:
        """Raises DataError where calibration data is missing, TrainingError where training diverges."""


_QUANTISERS = {
    Fp16: "edgepress.compress.quantisation.fp16:quantise",
    Dynamic: "edgepress.compress.quantisation.dynamic:quantise",
    Int8: "edgepress.compress.quantisation.ptq:quantise",
    Int8Qat: "edgepress.compress.quantisation.qat:quantise",
    Int16x8: "edgepress.compress.quantisation.int16x8:quantise",
    Int8Weights: "edgepress.compress.quantisation.int8_weights:quantise",
    Int4Weights: "edgepress.compress.quantisation.int4_weights:quantise",
}


def quantiser(config: QuantConfig) -> Quantiser:
    """The quantiser that the configuration selects; only its own framework is imported.

    Kernels that it leaves in floats are codes in what it makes of a model, unless these are float16.
    """
    module, name = _QUANTISERS[type(config)].split(":")
    chosen: Quantiser = getattr(import_module(module), name)
    if isinstance(config, Fp16):
        return chosen

    def whole(model: onnx.ModelProto, config: QuantConfig, sources: Sources) -> onnx.ModelProto:
        from edgepress.compress.quantisation.float_layers import with_coded_kernels
        from edgepress.compress.quantisation.given_outputs import with_given, without_given

        quantised = with_coded_kernels(chosen(without_given(model), config, sources))
        return with_given(quantised, model)

    return whole
