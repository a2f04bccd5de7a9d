"""MobileNetV1 (Howard et al. 2017, arXiv:1704.04861) with a width multiplier.

The original halves the image five times, which leaves of 32×32 a single pixel: the last blocks then see no
neighbourhood. So for images of fewer than 64 pixels a side the first convolution keeps the size (digits,
width 0.25, mean of three seeds on the validation split: 0.98 instead of 0.96).
"""

from collections import OrderedDict

from torch import nn

from edgepress.architectures.blocks import classifier, conv_bn_relu, separable
from edgepress.config import model

STEM = 32
SMALL = 64
BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)
"""Channels at width 1, and stride, of the thirteen separable blocks."""


class MobileNetV1(nn.Sequential):
    """From images (N, C, H, W) to logits (N, classes)."""

    def __init__(self, input_shape: tuple[int, ...], classes: int, config: model.MobileNetV1) -> None:
        inputs = scaled(STEM, config.width)
        stride = 2 if min(input_shape[1:]) >= SMALL else 1
        stem = conv_bn_relu(input_shape[0], inputs, 3, stride)
        layers: OrderedDict[str, nn.Module] = OrderedDict(stem=stem)
        for number, (channels, stride) in enumerate(BLOCKS, start=1):
            outputs = scaled(channels, config.width)
            layers[f"block{number}"] = separable(inputs, outputs, stride)
            inputs = outputs
        layers["head"] = classifier(inputs, classes)
        super().__init__(layers)


def scaled(channels: int, width: float) -> int:
    """The number of channels at a width, at least 8."""
    return max(8, int(channels * width))
