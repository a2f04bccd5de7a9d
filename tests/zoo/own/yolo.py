"""Detectors of one stage as each generation of YOLO writes its heads, with the boxes decoded in the graph."""

import torch
from torch import nn

from tests.zoo.own.blocks import Pyramid, conv, places
from tests.zoo.own.network import Network, image

_CLASSES = 6
_WIDTHS = (16, 32, 64)
_STRIDES = (4, 8, 16)
_ANCHORS = (((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)), ((60, 50), (90, 80), (120, 110)))


class YoloV3(nn.Module):
    """Anchors, an exponential of sizes, LeakyReLU (Redmon and Farhadi, "YOLOv3", 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Pyramid(16, lambda: nn.LeakyReLU(0.1))  # type: ignore[arg-type]
        self.heads = nn.ModuleList(nn.Conv2d(width, 3 * (5 + _CLASSES), 1) for width in _WIDTHS[1:])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        levels = zip(self.heads, self.backbone(image)[1:], _STRIDES[1:], _ANCHORS[1:], strict=True)
        return torch.cat([self.decoded(head(x), stride, anchors) for head, x, stride, anchors in levels], 1)

    def decoded(self, x: torch.Tensor, stride: int, anchors: tuple[tuple[int, int], ...]) -> torch.Tensor:
        """(N, 3·(5 + classes), H, W) → centres, sizes and scores (N, 3·H·W, 5 + classes)."""
        batch, _, height, width = x.shape
        x = x.view(batch, 3, 5 + _CLASSES, height * width).transpose(2, 3)
        centres = (x[..., :2].sigmoid() + places(height, width)) * stride
        sizes = x[..., 2:4].clamp(max=4).exp() * torch.tensor(anchors).float()[:, None]
        return torch.cat((centres, sizes, x[..., 4:].sigmoid()), -1).flatten(1, 2)


class YoloV5(YoloV3):
    """Twice the sigmoid for centres, its square for sizes, on five axes (Ultralytics, YOLOv5, 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Pyramid(16, nn.SiLU)

    def decoded(self, x: torch.Tensor, stride: int, anchors: tuple[tuple[int, int], ...]) -> torch.Tensor:
        batch, _, height, width = x.shape
        x = x.view(batch, 3, 5 + _CLASSES, height, width).permute(0, 1, 3, 4, 2).contiguous().sigmoid()
        centres, sizes, scores = x.split((2, 2, 1 + _CLASSES), 4)
        centres = (centres * 2 - 0.5 + places(height, width).view(height, width, 2)) * stride
        sizes = (sizes * 2) ** 2 * torch.tensor(anchors).float()[:, None, None]
        return torch.cat((centres, sizes, scores), 4).view(batch, -1, 5 + _CLASSES)


class Fused(nn.Module):
    """Split, bottlenecks, and all of it joined: YOLOv8's C2f."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.first, self.last = (
            conv(inputs, outputs, 1, activation=nn.SiLU),
            conv(3 * half, outputs, 1, activation=nn.SiLU),
        )
        self.block = nn.Sequential(conv(half, half, activation=nn.SiLU), conv(half, half, activation=nn.SiLU))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = list(self.first(x).chunk(2, 1))
        parts.append(parts[-1] + self.block(parts[-1]))
        return self.last(torch.cat(parts, 1))


class YoloV8(nn.Module):
    """No anchors; each side of a box is the mean of a distribution (Li et al., "Generalized Focal Loss")."""

    bins = 8

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Pyramid(16, nn.SiLU)
        self.up, self.neck = nn.Upsample(scale_factor=2), Fused(_WIDTHS[2] + _WIDTHS[1], _WIDTHS[1])
        self.boxes = nn.ModuleList(nn.Conv2d(width, 4 * self.bins, 1) for width in _WIDTHS[1:])
        self.scores = nn.ModuleList(nn.Conv2d(width, _CLASSES, 1) for width in _WIDTHS[1:])
        self.mean = nn.Conv2d(self.bins, 1, 1, bias=False).requires_grad_(False)

    def raw(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Boxes (N, 4, places) in pixels, as two corners, and scores (N, classes, places)."""
        _, middle, top = self.backbone(image)
        levels = [self.neck(torch.cat((self.up(top), middle), 1)), top]
        boxes = torch.cat([head(x).flatten(2) for head, x in zip(self.boxes, levels, strict=True)], 2)
        scores = torch.cat([head(x).flatten(2) for head, x in zip(self.scores, levels, strict=True)], 2)
        grid = torch.cat([places(*x.shape[-2:]) + 0.5 for x in levels]).T
        strides = torch.cat(
            [
                torch.full((x.shape[-2] * x.shape[-1],), float(s))
                for x, s in zip(levels, _STRIDES[1:], strict=True)
            ]
        )
        bins = boxes.view(len(boxes), 4, self.bins, -1).transpose(2, 1).softmax(1)
        left, right = self.mean(bins).view(len(boxes), 4, -1).chunk(2, 1)
        return torch.cat((grid - left, grid + right), 1) * strides, scores.sigmoid()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat(self.raw(image), 1)


class YoloV10(YoloV8):
    """The best places are chosen in the graph, without suppression (Wang et al., "YOLOv10", 2024)."""

    most = 20

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # type: ignore[override]
        boxes, scores = (x.transpose(1, 2) for x in self.raw(image))
        _, chosen = scores.amax(-1).topk(self.most, -1)
        chosen = chosen.unsqueeze(-1)
        boxes = boxes.gather(1, chosen.repeat(1, 1, 4))
        scores = scores.gather(1, chosen.repeat(1, 1, _CLASSES))
        best, index = scores.flatten(1).topk(self.most, -1)
        boxes = boxes.gather(1, (index // _CLASSES).unsqueeze(-1).repeat(1, 1, 4))
        return boxes, best, index % _CLASSES


class YoloX(nn.Module):
    """Every second pixel as a channel, classes and boxes apart (Ge et al., "YOLOX", 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(12, 16, activation=nn.SiLU)
        self.stages = nn.ModuleList(conv(16 << i, 32 << i, 3, 2, activation=nn.SiLU) for i in range(2))
        self.stems = nn.ModuleList(conv(32 << i, 24, 1, activation=nn.SiLU) for i in range(2))
        self.towers = nn.ModuleList(conv(24, 24, activation=nn.SiLU) for _ in range(4))
        self.scores, self.boxes = nn.Conv2d(24, _CLASSES, 1), nn.Conv2d(24, 4, 1)
        self.objects = nn.Conv2d(24, 1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        corners = [image[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]
        x, found = self.stem(torch.cat(corners, 1)), []
        for level, (stage, stem) in enumerate(zip(self.stages, self.stems, strict=True)):
            x = stage(x)
            entry = stem(x)
            box, score = self.towers[2 * level](entry), self.towers[2 * level + 1](entry)
            joined = (self.boxes(box), self.objects(box).sigmoid(), self.scores(score).sigmoid())
            found.append(self.decoded(torch.cat(joined, 1), 4 << level))
        return torch.cat(found, 1)

    def decoded(self, x: torch.Tensor, stride: int) -> torch.Tensor:
        """(N, 5 + classes, H, W) → (N, H·W, 5 + classes)."""
        grid, x = places(*x.shape[-2:]), x.flatten(2).permute(0, 2, 1)
        centres = (x[..., :2] + grid) * stride
        return torch.cat((centres, torch.exp(x[..., 2:4]) * stride, x[..., 4:]), -1)


NETWORKS = (
    Network("yolov3_tiny", "anchors, sizes by Exp", YoloV3, image, ("boxes",), "TorchScript", 11, classes=2),
    Network("yolov5", "five axes, slices", YoloV5, image, ("boxes",), "TorchScript", 13, classes=2),
    Network("yolov8", "sides by Softmax, no anchors", YoloV8, image, ("boxes",), classes=1),
    Network(
        "yolov10",
        "TopK and GatherElements in place of suppression",
        YoloV10,
        image,
        ("boxes", "scores", "labels"),
        "dynamo, not optimised",
        no_int8="what is chosen changes with a rounding",
    ),
    Network(
        "yolox", "pixels as channels, heads apart", YoloX, image, ("boxes",), "TorchScript", 11, classes=2
    ),
)
