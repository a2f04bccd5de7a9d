"""What `edgepress convert` is asked for; checked before anything is loaded. Standard library only."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from edgepress.errors import ConfigError

ConverterName = Literal["nhwc", "onnx_tf"]
QuantName = Literal["none", "fp16", "dynamic", "int8", "int16x8", "int8_weights", "int4_weights"]
Layout = Literal["nhwc", "nchw", "as-is"]
IoDtype = Literal["auto", "int8", "int16", "float32"]

CONVERTERS: tuple[ConverterName, ...] = ("nhwc", "onnx_tf")
QUANTS: tuple[QuantName, ...] = get_args(QuantName)
CALIBRATED: tuple[QuantName, ...] = ("int8", "int16x8", "int4_weights")
LAYOUTS: tuple[Layout, ...] = ("nhwc", "nchw", "as-is")
IO_DTYPES: tuple[IoDtype, ...] = ("auto", "int8", "int16", "float32")

MIN_SNR_DB: Mapping[str, float] = {
    "float32": 60.0,
    "fp16": 30.0,
    "dynamic": 15.0,
    "int8": 10.0,
    "int16x8": 15.0,
    "int8_weights": 15.0,
    "int4_weights": 5.0,
}
"""What `--check` demands of each output in each number format; rounding alone leaves more."""

LARGEST_SIZE = 2**31 - 1
"""Of an axis in a `.tflite`."""

SAMPLES = 128
"""Calibration inputs that are used at most, as in `conf/quant/int8.yaml`."""


@dataclass(frozen=True)
class Request:
    """One conversion; `calibration` is a `.npz`, a `.npy` or a folder of `.npy` files.

    `layouts` are `NAME=LAYOUT`, the order of an input's or output's axes in the `.tflite`; with `keep_shape`
    all others have the file's. With `per_tensor` each int8 kernel has one scale, and with `metadata` the
    `.tflite` tells of itself. `batch` and `input_shapes`, `NAME=SIZE,SIZE,…` with ? for a size that stays as
    it is, fix what the file leaves open; `outputs` are the tensors at which the network is to end, none for
    its own. With `allow_custom` what has no translation becomes a custom operator. `min_snr_db` is the
    signal-to-noise ratio that `check` demands of each output, None for that of the number format in
    `MIN_SNR_DB`.
    """

    source: Path
    target: Path
    converter: ConverterName = "nhwc"
    quant: QuantName = "none"
    calibration: Path | None = None
    per_tensor: bool = False
    io_dtype: IoDtype = "auto"
    check: bool = False
    min_snr_db: float | None = None
    keep_shape: bool = False
    layouts: tuple[str, ...] = ()
    metadata: bool = True
    batch: int | None = None
    input_shapes: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    allow_custom: bool = False

    def __post_init__(self) -> None:
        for given in self.layouts:
            self.layout(given)
        names = [self.input_shape(given)[0] for given in self.input_shapes]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ConfigError(f"--input-shape names {twice[0][:200]!r} twice; expected one shape of each")
        if self.batch is not None and not 1 <= self.batch <= LARGEST_SIZE:
            raise ConfigError(f"--batch is {self.batch}; expected 1 to {LARGEST_SIZE}")
        if self.min_snr_db is not None and not math.isfinite(self.min_snr_db):
            raise ConfigError(f"--min-snr is {self.min_snr_db}; expected a number of decibels, such as 20")
        if self.min_snr_db is not None and not self.check:
            raise ConfigError("--min-snr is the bound of --check; add --check")
        if self.allow_custom and (self.converter != "nhwc" or self.quant in CALIBRATED):
            raise ConfigError(
                "--allow-custom is for --converter nhwc without calibration, since nothing here can run what "
                "the custom operators stand for; leave it out, or choose another --converter or --quant"
            )
        if self.target.suffix != ".tflite":
            raise ConfigError(f"--output is {str(self.target)!r}; expected a name ending in .tflite")
        if self.per_tensor and self.quant != "int8":
            raise ConfigError("--per-tensor is for the scales of --quant int8; add that, or leave it out")
        if self.quant in CALIBRATED and self.calibration is None:
            raise ConfigError(
                f"--quant {self.quant} needs real inputs to find the ranges of activations; "
                "add --calibration with a .npz, a .npy or a folder of .npy files"
            )
        if self.calibration is not None and not self.calibration.exists():
            raise ConfigError(
                f"--calibration is {str(self.calibration)!r}, which is not there; check the name"
            )

    @staticmethod
    def layout(given: str) -> tuple[str, Layout]:
        """The name and the layout that `NAME=LAYOUT` gives.

        Raises:
            ConfigError: it has another form.
        """
        name, _, wanted = given.rpartition("=")
        for layout in LAYOUTS:
            if name and wanted == layout:
                return name, layout
        raise ConfigError(
            f"--layout is {given[:200]!r}; expected NAME=LAYOUT, the name of an input or output and one of: "
            f"{', '.join(LAYOUTS)}"
        )

    @staticmethod
    def input_shape(given: str) -> tuple[str, tuple[int | None, ...]]:
        """The name and the sizes that `NAME=SIZE,SIZE,…` gives, None for ?.

        Raises:
            ConfigError: it has another form.
        """
        name, _, wanted = given.rpartition("=")
        sizes = [size.strip() for size in wanted.split(",")]
        numbers = [int(size[:20]) if size.isascii() and size.isdigit() else 0 for size in sizes]
        fits = (size == "?" or 1 <= each <= LARGEST_SIZE for size, each in zip(sizes, numbers, strict=True))
        if name and all(fits):
            return name, tuple(each or None for each in numbers)
        raise ConfigError(
            f"--input-shape is {given[:200]!r}; expected NAME=SIZES, the name of an input and a size of 1 "
            f"to {LARGEST_SIZE} for each of its axes, or ? for one that stays as it is: image=1,3,224,?"
        )
