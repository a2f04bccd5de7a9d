"""Section `convert`: which converter makes the `.tflite`, and what its ends take."""

from dataclasses import dataclass
from typing import Literal

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


@dataclass(frozen=True)
class OnnxTf:
    """The archived onnx-tf; `io_dtype` as in `Nhwc`."""

    io_dtype: IoDtype


ConvertConfig = Nhwc | OnnxTf
CHOICES: dict[str, type[ConvertConfig]] = {"nhwc": Nhwc, "onnx_tf": OnnxTf}
