"""Section `convert`: which converter makes the `.tflite`, and what its ends take; or that none is made.

`suffix` is part of the names of what `convert-tflite` makes, which DVC has to know before it runs.
"""

from dataclasses import dataclass
from typing import Literal

from edgepress.config.schema import require

TFLITE, ABSENT = "tflite", "absent"

IoDtype = Literal["auto", "int8", "int16", "float32"]


@dataclass(frozen=True)
class Nhwc:
    """This project's own translator and writer of `.tflite` files.

    `io_dtype` is the type of the model's input and output: `auto` is that of the network's activations, so
    int8 where the network is int8, and int16 where it is int16x8. With `metadata` the files tell what the
    network is, what it takes and gives, and what made it.
    """

    io_dtype: IoDtype
    metadata: bool = True
    suffix: str = TFLITE

    def __post_init__(self) -> None:
        require(self.suffix == TFLITE, "suffix", self.suffix, f"{TFLITE!r} for convert=nhwc")


@dataclass(frozen=True)
class OnnxTf:
    """The archived onnx-tf; `io_dtype` as in `Nhwc`."""

    io_dtype: IoDtype
    suffix: str = TFLITE

    def __post_init__(self) -> None:
        require(self.suffix == TFLITE, "suffix", self.suffix, f"{TFLITE!r} for convert=onnx_tf")


@dataclass(frozen=True)
class NoTflite:
    """No `.tflite`: the network cannot be one, or none is wanted; ONNX Runtime alone runs it."""

    suffix: str = ABSENT

    def __post_init__(self) -> None:
        require(self.suffix == ABSENT, "suffix", self.suffix, f"{ABSENT!r} for convert=none")


ConvertConfig = Nhwc | OnnxTf
CHOICES: dict[str, type[ConvertConfig | NoTflite]] = {"nhwc": Nhwc, "onnx_tf": OnnxTf, "none": NoTflite}
