"""Segmentation: the ways up from small maps to the size of the image, and what is given at the end."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tests.zoo.own.blocks import FeaturePyramid, Pyramid, conv
from tests.zoo.own.network import Network, Random, Sample, image

_CLASSES = 5
_WIDTHS = (16, 32, 64)


class UNet(nn.Module):
    """Two steps down, two up, each joined with what went down (Ronneberger et al., "U-Net", 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.bottom = conv(3, 16), conv(16, 32), conv(32, 64)
        self.ups = nn.ModuleList([nn.ConvTranspose2d(64, 32, 2, 2), nn.ConvTranspose2d(32, 16, 2, 2)])
        self.joins = nn.ModuleList([conv(64, 32), conv(32, 16)])
        self.head = nn.Conv2d(16, _CLASSES, 1)

    def up(self, level: int, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """As large as `skip`, and as wide."""
        return self.ups[level](x)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        first = self.first(image)
        second = self.second(functional.max_pool2d(first, 2))
        x = self.bottom(functional.max_pool2d(second, 2))
        for level, skip in enumerate((second, first)):
            x = self.joins[level](torch.cat((skip, self.up(level, x, skip)), 1))
        return self.head(x)


class BilinearUNet(UNet):
    """Twice as large by interpolation, padded where the sizes are odd."""

    def __init__(self) -> None:
        super().__init__()
        self.ups = nn.ModuleList([nn.Conv2d(64, 32, 1), nn.Conv2d(32, 16, 1)])

    def up(self, level: int, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return self.ups[level](functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True))


class SkipSizedUNet(BilinearUNet):
    """As large as what it is joined with, whatever that is."""

    def up(self, level: int, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(
            self.ups[level](x), size=skip.shape[2:], mode="bilinear", align_corners=False
        )


class FpnSegmenter(nn.Module):
    """All levels of a pyramid, brought to one size and summed (Kirillov et al., "Panoptic FPN", 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.pyramid = Pyramid(), FeaturePyramid(_WIDTHS, 24)
        self.towers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(24, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU()) for _ in range(3)
        )
        self.head = nn.Conv2d(16, _CLASSES, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        levels = [tower(x) for tower, x in zip(self.towers, self.pyramid(self.backbone(image)), strict=True)]
        summed = sum(
            functional.interpolate(x, scale_factor=float(1 << level), mode="bilinear", align_corners=False)
            for level, x in enumerate(levels)
        )
        return functional.interpolate(
            self.head(summed), scale_factor=4.0, mode="bilinear", align_corners=False
        )


class SegFormer(nn.Module):
    """Overlapping patches, attention to a smaller map, depthwise convolutions between dense layers
    (Xie et al., "SegFormer", 2021).
    """

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([_MixStage(3, 16, 4, 4), _MixStage(16, 32, 2, 2)])
        self.entries = nn.ModuleList([nn.Linear(16, 24), nn.Linear(32, 24)])
        self.head = nn.Sequential(conv(48, 24, 1), nn.Conv2d(24, _CLASSES, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x, levels = image, []
        for stage, entry in zip(self.stages, self.entries, strict=True):
            x = stage(x)
            batch, _, height, width = x.shape
            level = entry(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(batch, -1, height, width)
            levels.append(level)
        sized = functional.interpolate(
            levels[1], size=levels[0].shape[2:], mode="bilinear", align_corners=False
        )
        return self.head(torch.cat((sized, levels[0]), 1))


class _MixStage(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int, reduction: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(inputs, width, 2 * stride - 1, stride, stride - 1)
        self.reduce = nn.Conv2d(width, width, reduction, reduction)
        self.query, self.both, self.out = (nn.Linear(width, n) for n in (width, 2 * width, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.expand, self.shrink = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.local = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.patches(image)
        batch, width, rows, columns = x.shape
        x = self.norms[0](x.flatten(2).transpose(1, 2))
        x = x + self.attend(self.norms[1](x), rows, columns)
        hidden = self.expand(self.norms[2](x)).transpose(1, 2).view(batch, -1, rows, columns)
        x = x + self.shrink(functional.gelu(self.local(hidden)).flatten(2).transpose(1, 2))
        return x.transpose(1, 2).view(batch, width, rows, columns)

    def attend(self, x: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        batch, length, width = x.shape
        reduced = self.reduce(x.permute(0, 2, 1).reshape(batch, width, rows, columns))
        reduced = self.norms[3](reduced.reshape(batch, width, -1).permute(0, 2, 1))
        key, value = self.both(reduced).reshape(batch, -1, 2, 2, width // 2).permute(2, 0, 3, 1, 4)
        query = self.query(x).reshape(batch, length, 2, width // 2).permute(0, 2, 1, 3)
        found = functional.scaled_dot_product_attention(query, key, value)
        return self.out(found.transpose(1, 2).reshape(batch, length, width))


class Labels(nn.Module):
    """From a camera's bytes, channels last, to the class of each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.net = UNet()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = (pixels.permute(0, 3, 1, 2).float() - 127.5) / 60
        return self.net(x).argmax(1)


class PyramidPooling(nn.Module):
    """Means over 1, 4 and 16 parts of the map beside it (Zhao et al., "PSPNet", 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2))
        self.branches = nn.ModuleList(conv(32, 8, 1) for _ in range(3))
        self.head = nn.Sequential(conv(32 + 24, 32), nn.Conv2d(32, _CLASSES, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.stem(image)
        size, parts = x.shape[2:], [x]
        for cells, branch in zip((1, 2, 4), self.branches, strict=True):
            pooled = branch(functional.adaptive_avg_pool2d(x, cells))
            parts.append(functional.interpolate(pooled, size, mode="bilinear", align_corners=True))
        return functional.interpolate(self.head(torch.cat(parts, 1)), image.shape[2:], mode="bilinear")


class Dilated(nn.Module):
    """Kernels with gaps, joined (Chen et al., "DeepLab", 2018), and a map of depth beside the classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2))
        self.branches = nn.ModuleList(nn.Conv2d(32, 12, 3, padding=rate, dilation=rate) for rate in (1, 3, 6))
        self.scores, self.depth = nn.Conv2d(36, _CLASSES, 1), nn.Conv2d(36, 1, 1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.stem(image)
        x = functional.relu(torch.cat([branch(x) for branch in self.branches], 1))
        near = functional.softplus(functional.interpolate(self.depth(x), scale_factor=4.0, mode="nearest"))
        return functional.interpolate(self.scores(x), scale_factor=4.0, mode="nearest"), 1 / (near + 0.1)


def _bytes(random: Random, size: int) -> Sample:
    return {
        "pixels": random.integers(0, 256, (1, size // 8, size // 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    }


_RESIZED = (
    "XNNPACK weighs neighbours with 11 bits: where a factor is no power of two that puts 0.4% of the codes "
    "one step apart, and later layers multiply that"
)
NETWORKS = (
    Network("unet_transposed", "ConvTranspose", UNet, image, classes=1),
    Network(
        "unet_bilinear",
        "factors of 2, open batch, height and width",
        BilinearUNet,
        image,
        exporter="TorchScript",
        opset=11,
        sizes=(64, 96, 80),
        open_axes={"image": {0: "batch", 2: "height", 3: "width"}},
        classes=1,
    ),
    Network(
        "unet_skip_sized",
        "as large as what it is joined with",
        SkipSizedUNet,
        image,
        sizes=(50,),
        classes=1,
        int8_limit=_RESIZED,
    ),
    Network(
        "unet_any_size",
        "the same with open height and width",
        SkipSizedUNet,
        image,
        sizes=(64, 48, 70),
        open_axes={"image": {2: "height", 3: "width"}},
        classes=1,
    ),
    Network(
        "fpn_segmenter",
        "GroupNorm, levels summed",
        FpnSegmenter,
        image,
        exporter="dynamo, not optimised",
        classes=1,
    ),
    Network("segformer", "overlapping patches, smaller keys", SegFormer, image, classes=1),
    Network(
        "labels_of_pixels",
        "bytes in, channels last; ArgMax out",
        Labels,
        _bytes,
        ("labels",),
        "TorchScript",
        13,
        no_int8="its output is whole numbers",
    ),
    Network("pspnet", "pooled parts", PyramidPooling, image, exporter="TorchScript", opset=11, classes=1),
    Network("deeplab_depth", "dilation, two outputs", Dilated, image, ("scores", "depth"), classes=1),
)
