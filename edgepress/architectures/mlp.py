"""A multi-layer perceptron."""

import math
from collections import OrderedDict

from torch import nn

from edgepress.config import model


class Mlp(nn.Sequential):
    """From images (N, C, H, W) to logits (N, classes) through ReLU layers of the `hidden` widths."""

    def __init__(self, input_shape: tuple[int, ...], classes: int, config: model.Mlp) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        inputs = math.prod(input_shape)
        for number, outputs in enumerate(config.hidden, start=1):
            layers[f"hidden{number}"] = nn.Sequential(
                OrderedDict(dense=nn.Linear(inputs, outputs), relu=nn.ReLU())
            )
            inputs = outputs
        layers["head"] = nn.Linear(inputs, classes)
        super().__init__(layers)
