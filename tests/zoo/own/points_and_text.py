"""Key points in images, and text in images."""

import torch
from torch import nn
from torch.nn import functional

from tests.zoo.own.blocks import FeaturePyramid, Pyramid, Transformer, conv, places, separable
from tests.zoo.own.network import Network, Random, Sample, image
from tests.zoo.photos import crop


class HeatMaps(nn.Module):
    """Transposed convolutions up to a map for each point, and the mean place of each map
    (Xiao et al., "Simple Baselines", 2018; Sun et al., "Integral Human Pose Regression", 2018).
    """

    def __init__(self, points: int = 7) -> None:
        super().__init__()
        self.backbone = Pyramid()
        self.ups = nn.Sequential(
            *(nn.ConvTranspose2d(64, 24, 4, 2, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU()),
            *(nn.ConvTranspose2d(24, 16, 4, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        )
        self.head = nn.Conv2d(16, points, 1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.head(self.ups(self.backbone(image)[2]))
        shares = maps.flatten(2).softmax(-1)
        return maps, shares @ (places(*maps.shape[-2:]) / maps.shape[-1])


class Peaks(nn.Module):
    """The best place of each map, and the offset at it, as MoveNet gives them."""

    def __init__(self, points: int = 5) -> None:
        super().__init__()
        self.backbone = nn.Sequential(conv(3, 16, 3, 2), separable(16, 24, 2), separable(24, 32))
        self.heat, self.offsets = nn.Conv2d(32, points, 1), nn.Conv2d(32, 2 * points, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.backbone(image)
        heat, width = self.heat(x).flatten(2), x.shape[-1]
        best = heat.argmax(-1, keepdim=True)
        offsets = self.offsets(x).unflatten(1, (-1, 2)).flatten(3)
        shift = offsets.gather(3, best.unsqueeze(2).expand(-1, -1, 2, -1)).squeeze(3)
        row, column = torch.div(best, width, rounding_mode="floor"), best % width
        return torch.cat((torch.cat((row, column), -1) + shift, heat.gather(2, best).sigmoid()), -1)


class Landmarks(nn.Module):
    """Maps of three scales, pooled and joined, into one dense layer (Guo et al., "PFLD", 2019)."""

    def __init__(self, points: int = 20) -> None:
        super().__init__()
        self.backbone = Pyramid(12, nn.PReLU)
        self.head = nn.Linear(12 + 24 + 48, 2 * points)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([x.mean((2, 3)) for x in self.backbone(image)], 1))


class Crnn(nn.Module):
    """Columns of a line of text through two BiLSTMs (Shi et al., "CRNN", 2017)."""

    def __init__(self, symbols: int = 20) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv(3, 16),
            nn.MaxPool2d(2),
            conv(16, 24),
            nn.MaxPool2d((2, 1)),
            conv(24, 32),
            nn.MaxPool2d((8, 1)),
        )
        self.reader = nn.LSTM(32, 24, 2, bidirectional=True)
        self.head = nn.Linear(48, symbols)

    def forward(self, line: torch.Tensor) -> torch.Tensor:
        x = self.layers(line).squeeze(2).permute(2, 0, 1)
        return self.head(self.reader(x)[0]).log_softmax(2)


class Svtr(nn.Module):
    """A recogniser without recurrence: attention among the columns (Du et al., "SVTR", 2022)."""

    def __init__(self, symbols: int = 20) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv(3, 16, 3, 2, activation=nn.GELU), conv(16, 32, 3, 2, activation=nn.GELU)
        )
        self.block, self.head = Transformer(32, 4), nn.Linear(32, symbols)

    def forward(self, line: torch.Tensor) -> torch.Tensor:
        x = self.stem(line)
        x = functional.adaptive_avg_pool2d(x, (1, x.shape[-1])).squeeze(2).transpose(1, 2)
        return self.head(self.block(x)).softmax(2)


class TextDetector(nn.Module):
    """A map of text and one of thresholds, and the steep curve of both (Liao et al., "DBNet", 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Pyramid(16, nn.Hardswish)
        self.pyramid = FeaturePyramid((16, 32, 64), 16)
        self.heads = nn.ModuleList(
            nn.Sequential(
                conv(48, 12), nn.ConvTranspose2d(12, 8, 2, 2), nn.ReLU(), nn.ConvTranspose2d(8, 1, 2, 2)
            )
            for _ in range(2)
        )

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        levels = self.pyramid(self.backbone(image))
        joined = torch.cat([functional.interpolate(x, levels[0].shape[-2:]) for x in levels], 1)
        text, threshold = (head(joined).sigmoid() for head in self.heads)
        return text, torch.reciprocal(1 + torch.exp(-10 * (text - threshold)))


def _line(random: Random, width: int) -> Sample:
    """A line of text's shape: the upper part of a photograph."""
    return {"line": crop(random, max(width, 32))[:, :, :32, :width].copy()}


NETWORKS = (
    Network("heat_maps", "mean place of each map", HeatMaps, image, ("maps", "points")),
    Network(
        "peaks",
        "best place of each map by ArgMax",
        Peaks,
        image,
        ("points",),
        "dynamo, not optimised",
        no_int8="what is chosen changes with a rounding",
    ),
    Network("landmarks", "three scales, PReLU", Landmarks, image, ("points",), "TorchScript", 11),
    Network(
        "crnn",
        "two BiLSTMs, open width",
        Crnn,
        _line,
        ("symbols",),
        "TorchScript",
        11,
        (64, 96, 80),
        {"line": {3: "width"}},
        classes=2,
    ),
    Network("svtr", "attention among columns", Svtr, _line, ("symbols",), classes=2),
    Network("text_detector", "two maps and a steep curve", TextDetector, image, ("text", "binary")),
)
