"""Section `model`: the architecture. `source` is a DVC dependency of `train`, so an edit retrains."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgepress.config.schema import require, require_integer, require_number, require_positive

LARGEST_INPUT = 1e9
"""The largest magnitude of what a network's inputs are scaled by: that of 30-bit samples."""


@dataclass(frozen=True)
class ResNet8:
    """ResNet-8 of MLPerf Tiny; `width` is the number of channels of the first stack."""

    source: str
    width: int

    def __post_init__(self) -> None:
        require_integer("width", self.width, 1, 4096)


@dataclass(frozen=True)
class MobileNetV1:
    """MobileNetV1 with a width multiplier."""

    source: str
    width: float

    def __post_init__(self) -> None:
        require_positive("width", self.width, 4)


@dataclass(frozen=True)
class DsCnn:
    """DS-CNN of MLPerf Tiny: a convolution and `blocks` depthwise-separable ones, all `filters` wide."""

    source: str
    filters: int
    blocks: int

    def __post_init__(self) -> None:
        require_integer("filters", self.filters, 1, 4096)
        require_integer("blocks", self.blocks, 1, 256)


@dataclass(frozen=True)
class Mlp:
    """A multi-layer perceptron with the given hidden widths."""

    source: str
    hidden: tuple[int, ...]

    def __post_init__(self) -> None:
        require(len(self.hidden) <= 64, "hidden", list(self.hidden), "at most 64 layers")
        for i, width in enumerate(self.hidden):
            require_integer(f"hidden[{i}]", width, 1, 65_536)


@dataclass(frozen=True)
class Custom:
    """A class the user brings: called with `input_shape` (C, H, W), `classes` and `arguments`."""

    source: str
    _target_: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        dotted = self._target_.rpartition(".")[0] != ""
        require(dotted, "_target_", self._target_, "a dotted path to a class, e.g. my_net.MyNet")


@dataclass(frozen=True)
class Onnx:
    """A trained network in an ONNX file of any producer. `source` is the file or, where its weights lie
    beside it, the folder of both.

    The data's raw values become (x − mean) / std before the network, one number for all channels or one for
    each; empty leaves them as they are.
    """

    path: str
    source: str
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        require(self.path.endswith(".onnx"), "path", self.path, "a .onnx file")
        for i, value in enumerate(self.mean):
            require_number(f"mean[{i}]", value, -LARGEST_INPUT, LARGEST_INPUT)
        for i, value in enumerate(self.std):
            require_positive(f"std[{i}]", value, LARGEST_INPUT)


@dataclass(frozen=True)
class Timm:
    """The network `name` of timm or torchvision, with random weights, with those that the library offers
    (`pretrained`), or with those of a file (`weights`).
    """

    source: str
    name: str
    pretrained: bool
    weights: str | None

    def __post_init__(self) -> None:
        own = self.weights is None or Path(self.weights).suffix in (".safetensors", ".pth", ".pt", ".bin")
        require(own, "weights", self.weights, "a .safetensors or .pth file")
        watched = self.weights is None or self.source == self.weights
        require(watched, "source", self.source, f"{self.weights!r}, the weights, so that an edit is noticed")


ModelConfig = ResNet8 | MobileNetV1 | DsCnn | Mlp | Custom | Onnx | Timm
CHOICES: dict[str, type[ModelConfig]] = {
    "resnet8": ResNet8,
    "mobilenet_v1": MobileNetV1,
    "ds_cnn": DsCnn,
    "mlp": Mlp,
    "custom": Custom,
    "onnx": Onnx,
    "timm": Timm,
}


def untrained(config: ModelConfig) -> ModelConfig:
    """The same architecture without weights from elsewhere, e.g. to load trained ones into."""
    return replace(config, pretrained=False, weights=None) if isinstance(config, Timm) else config
