"""DS-CNN, the keyword-spotting network of MLPerf Tiny (Zhang et al. 2017, arXiv:1711.07128), for images.

The original's first convolution is 10×4 with stride 2, made for spectrograms of 49×10. Here it is 3×3
with stride 2, which suits an image of any size and stays on the kernels that runtimes know best. Instead of
the original's dropout there is augmentation.
"""

from collections import OrderedDict

from torch import nn

from edgepress.architectures.blocks import classifier, conv_bn_relu, separable
from edgepress.config import model


class DsCnn(nn.Sequential):
    """From images (N, C, H, W) to logits (N, classes): one convolution and `blocks` separable ones."""

    def __init__(self, input_shape: tuple[int, ...], classes: int, config: model.DsCnn) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            stem=conv_bn_relu(input_shape[0], config.filters, 3, 2)
        )
        for number in range(1, config.blocks + 1):
            layers[f"block{number}"] = separable(config.filters, config.filters)
        layers["head"] = classifier(config.filters, classes)
        super().__init__(layers)
