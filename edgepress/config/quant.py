"""Section `quant`: the number format of weights and activations."""

from dataclasses import dataclass
from typing import Literal

from edgepress.config.fine_tune import FineTune
from edgepress.config.load import Off
from edgepress.config.schema import require, require_integer, require_number


@dataclass(frozen=True)
class Fp16:
    """Weights stored as float16, computed with as float32."""


@dataclass(frozen=True)
class Dynamic:
    """Weights int8; activations quantised on the fly from each input's own range."""


@dataclass(frozen=True)
class Calibration:
    """How activation ranges are read from `samples` inputs; `bins` and `percentile` shape the histograms."""

    method: Literal["minmax", "entropy", "percentile"]
    samples: int
    bins: int
    percentile: float

    def __post_init__(self) -> None:
        require_integer("samples", self.samples, 1, 1_000_000)
        require_integer("bins", self.bins, 256, 65_536)
        require(50 < self.percentile <= 100, "percentile", self.percentile, "a number in (50, 100]")


@dataclass(frozen=True)
class Int8:
    """Post-training quantisation: weights symmetric, activations asymmetric."""

    per_channel: bool
    calibration: Calibration


@dataclass(frozen=True)
class Int8Qat:
    """Quantisation-aware training, started at the ranges that calibration finds.

    `range_momentum` is the factor of the moving averages that the ranges then follow.
    """

    per_channel: bool
    range_momentum: float
    calibration: Calibration
    fine_tune: FineTune

    def __post_init__(self) -> None:
        require_number("range_momentum", self.range_momentum, 0, 1)


@dataclass(frozen=True)
class Int16x8:
    """Activations int16, symmetric; weights int8, a scale for each output channel."""

    calibration: Calibration


@dataclass(frozen=True)
class Int8Weights:
    """Weights int8, a scale for each output channel, made float32 as a runtime loads them."""


@dataclass(frozen=True)
class Int4Weights:
    """Weights of 4 bits under int8 activations, where a runtime executes them; else of 8.

    Kernels of fewer than `least_weights` stay int8. So do those of convolutions larger than 1×1 without
    `spatial`: LiteRT's kernels of 4 bits are as slow as float32 for these.
    """

    spatial: bool
    least_weights: int
    calibration: Calibration

    def __post_init__(self) -> None:
        require_integer("least_weights", self.least_weights, 1, 1_000_000_000)


QuantConfig = Off | Fp16 | Dynamic | Int8 | Int8Qat | Int16x8 | Int8Weights | Int4Weights
CHOICES: dict[str, type[QuantConfig]] = {
    "none": Off,
    "fp16": Fp16,
    "dynamic": Dynamic,
    "int8": Int8,
    "int8_qat": Int8Qat,
    "int16x8": Int16x8,
    "int8_weights": Int8Weights,
    "int4_weights": Int4Weights,
}
