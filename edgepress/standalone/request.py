"""What `edgepress convert` is asked for; checked before anything is loaded. Standard library only."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgepress.errors import ConfigError

ConverterName = Literal["nhwc", "onnx_tf"]
QuantName = Literal["none", "fp16", "dynamic", "int8"]
IoDtype = Literal["auto", "int8", "float32"]

CONVERTERS: tuple[ConverterName, ...] = ("nhwc", "onnx_tf")
QUANTS: tuple[QuantName, ...] = ("none", "fp16", "dynamic", "int8")
IO_DTYPES: tuple[IoDtype, ...] = ("auto", "int8", "float32")


@dataclass(frozen=True)
class Request:
    """One conversion; `calibration` is a `.npz`, a `.npy` or a folder of `.npy` files."""

    source: Path
    target: Path
    converter: ConverterName = "nhwc"
    quant: QuantName = "none"
    calibration: Path | None = None
    io_dtype: IoDtype = "auto"
    check: bool = False

    def __post_init__(self) -> None:
        if self.target.suffix != ".tflite":
            raise ConfigError(f"--output is {str(self.target)!r}; expected a name ending in .tflite")
        if self.quant == "int8" and self.calibration is None:
            raise ConfigError(
                "--quant int8 needs real inputs to find the ranges of activations; "
                "add --calibration with a .npz, a .npy or a folder of .npy files"
            )
        if self.calibration is not None and not self.calibration.exists():
            raise ConfigError(
                f"--calibration is {str(self.calibration)!r}, which is not there; check the name"
            )
