"""Section `convert`: which converter makes the `.tflite`, and what its ends take."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Nhwc:
    """This project's own translator and writer of `.tflite` files.

    `io_dtype` is the type of the model's input and output: `auto` is int8 where the network is int8.
    """

    io_dtype: Literal["auto", "int8", "float32"]


@dataclass(frozen=True)
class OnnxTf:
    """The archived onnx-tf; `io_dtype` as in `Nhwc`."""

    io_dtype: Literal["auto", "int8", "float32"]


ConvertConfig = Nhwc | OnnxTf
CHOICES: dict[str, type[ConvertConfig]] = {"nhwc": Nhwc, "onnx_tf": OnnxTf}
