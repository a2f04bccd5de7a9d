"""The parts that several convolutional networks are made of."""

from collections import OrderedDict

from torch import nn


def conv_bn_relu(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution without bias, BatchNormalization, ReLU; an odd `kernel` is padded to keep the size."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(outputs), relu=nn.ReLU()))


def separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A depthwise 3×3 and a pointwise 1×1 convolution, each with BatchNormalization and ReLU."""
    depthwise = conv_bn_relu(inputs, inputs, 3, stride, groups=inputs)
    return nn.Sequential(OrderedDict(depthwise=depthwise, pointwise=conv_bn_relu(inputs, outputs, 1)))


def classifier(channels: int, classes: int) -> nn.Sequential:
    """The mean of each channel (N, channels, H, W), then a dense layer to logits (N, classes)."""
    dense = nn.Linear(channels, classes)
    return nn.Sequential(OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), dense=dense))
