"""ResNet-8, the image-classification network of MLPerf Tiny (Banbury et al. 2021, arXiv:2106.07597).

Three stacks of one residual block each (He et al. 2015, arXiv:1512.03385). It differs from the benchmark's
Keras model in two harmless ways: convolutions that BatchNormalization follows have no bias, which it would
cancel, and strided convolutions are padded alike on all sides.
"""

from collections import OrderedDict

import torch
from torch import nn

from edgepress.architectures.blocks import classifier, conv_bn_relu
from edgepress.config import model


class ResNet8(nn.Sequential):
    """From images (N, C, H, W) to logits (N, classes); stacks of 1, 2 and 4 times `width` channels."""

    def __init__(self, input_shape: tuple[int, ...], classes: int, config: model.ResNet8) -> None:
        width = config.width
        super().__init__(
            OrderedDict(
                stem=conv_bn_relu(input_shape[0], width, 3),
                stack1=Residual(width, width, 1),
                stack2=Residual(width, 2 * width, 2),
                stack3=Residual(2 * width, 4 * width, 2),
                head=classifier(4 * width, classes),
            )
        )


class Residual(nn.Module):
    """Two 3×3 convolutions beside a skip connection: 1×1 where the shape changes, else the identity."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = conv_bn_relu(inputs, outputs, 3, stride)
        self.second = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
                bn=nn.BatchNorm2d(outputs),
            )
        )
        same = stride == 1 and inputs == outputs
        self.skip = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block's output (N, outputs, H / stride, W / stride)."""
        return torch.relu(self.second(self.first(x)) + self.skip(x))
