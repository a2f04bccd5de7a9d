"""Other detectors: with priors, on pyramids, by peaks, by queries, and with suppression in the graph."""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

from tests.zoo.own.blocks import Attention, FeaturePyramid, Mlp, Pyramid, places
from tests.zoo.own.network import Network, Random, Sample, floats, image

_CLASSES = 5
_WIDTHS = (16, 32, 64)


class Ssd(nn.Module):
    """Offsets from priors, decoded with their variances (Liu et al., "SSD", 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Pyramid()
        self.boxes = nn.ModuleList(nn.Conv2d(width, 2 * 4, 3, padding=1) for width in _WIDTHS[1:])
        self.scores = nn.ModuleList(nn.Conv2d(width, 2 * _CLASSES, 3, padding=1) for width in _WIDTHS[1:])
        self.register_buffer("priors", torch.cat([_priors(8, 0.2), _priors(4, 0.5)]))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        levels = self.backbone(image)[1:]
        offsets = torch.cat(
            [
                head(x).permute(0, 2, 3, 1).reshape(len(x), -1, 4)
                for head, x in zip(self.boxes, levels, strict=True)
            ],
            1,
        )
        scores = torch.cat(
            [
                head(x).permute(0, 2, 3, 1).reshape(len(x), -1, _CLASSES)
                for head, x in zip(self.scores, levels, strict=True)
            ],
            1,
        )
        centres = self.priors[:, :2] + offsets[..., :2] * 0.1 * self.priors[:, 2:]
        sizes = self.priors[:, 2:] * torch.exp(offsets[..., 2:] * 0.2)
        return functional.softmax(scores, -1), torch.cat((centres - sizes / 2, centres + sizes / 2), -1)


def _priors(cells: int, size: float) -> torch.Tensor:
    """Two for each cell, of different sizes, as centres and sizes relative to the image."""
    centres = ((places(cells, cells) + 0.5) / cells).repeat_interleave(2, 0)
    sizes = torch.tensor([[size, size], [size * 1.4, size * 0.7]]).repeat(cells * cells, 1)
    return torch.cat((centres, sizes), 1)


class RetinaNet(nn.Module):
    """One head for all levels of a pyramid (Lin et al., "Focal Loss for Dense Object Detection", 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.pyramid = Pyramid(), FeaturePyramid(_WIDTHS, 24)
        self.tower = nn.Sequential(nn.Conv2d(24, 24, 3, padding=1), nn.ReLU())
        self.scores = nn.Conv2d(24, 2 * _CLASSES, 3, padding=1)
        self.boxes = nn.Conv2d(24, 2 * 4, 3, padding=1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        towers = [self.tower(x) for x in self.pyramid(self.backbone(image))]
        return self.joined([self.scores(x) for x in towers], _CLASSES), self.joined(
            [self.boxes(x) for x in towers], 4
        )

    def joined(self, maps: list[torch.Tensor], each: int) -> torch.Tensor:
        """Maps (N, anchors·each, H, W) → (N, anchors of all levels, each)."""
        rows = []
        for x in maps:
            batch, _, height, width = x.shape
            x = x.view(batch, -1, each, height, width).permute(0, 3, 4, 1, 2)
            rows.append(x.reshape(batch, -1, each))
        return torch.cat(rows, 1)


class Fcos(nn.Module):
    """Distances from each place, GroupNorm, a scale for each level (Tian et al., "FCOS", 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.pyramid = Pyramid(), FeaturePyramid(_WIDTHS, 16)
        self.tower = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU())
        self.scores, self.sides = nn.Conv2d(16, _CLASSES, 1), nn.Conv2d(16, 4, 1)
        self.centre = nn.Conv2d(16, 1, 1)
        self.scales = nn.Parameter(torch.tensor([0.8, 1.1, 1.3]))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        scores, sides, centres = [], [], []
        for level, x in enumerate(self.pyramid(self.backbone(image))):
            x = self.tower(x)
            scores.append(self.scores(x).flatten(2))
            sides.append((functional.relu(self.sides(x) * self.scales[level]) * (4 << level)).flatten(2))
            centres.append(self.centre(x).sigmoid().flatten(2))
        return torch.cat(scores, 2).sigmoid(), torch.cat(sides, 2), torch.cat(centres, 2)


class CenterNet(nn.Module):
    """Peaks of heat maps by MaxPool, and what lies at them (Zhou et al., "Objects as Points", 2019)."""

    most = 10

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Pyramid()
        self.up = nn.Sequential(nn.ConvTranspose2d(32, 24, 4, 2, 1), nn.BatchNorm2d(24), nn.ReLU())
        self.heat, self.sizes, self.shifts = (nn.Conv2d(24, n, 1) for n in (_CLASSES, 2, 2))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = self.up(self.backbone(image)[1])
        heat, width = self.heat(x).sigmoid(), x.shape[-1]
        peaks = heat * (functional.max_pool2d(heat, 3, 1, 1) == heat).float()
        scores, index = torch.topk(peaks.flatten(1), self.most)
        area = width * x.shape[-2]
        place, label = index % area, index // area
        shift, size = (self.at(head(x), place) for head in (self.shifts, self.sizes))
        column, row = (place % width).unsqueeze(2).float(), (place // width).unsqueeze(2).float()
        corner = torch.cat((column, row), 2) + shift
        return torch.cat((corner - size / 2, corner + size / 2), 2), scores, label

    def at(self, x: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) at places (N, k) → (N, k, C)."""
        rows = x.permute(0, 2, 3, 1).reshape(len(x), -1, x.shape[1])
        return rows.gather(1, place.unsqueeze(2).expand(-1, -1, x.shape[1]))


class BlazeFace(nn.Module):
    """Kernels of 5×5, shortcuts with padded channels, anchors (Bazarevsky et al., "BlazeFace", 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 5, 2)
        self.blocks = nn.ModuleList(_BlazeBlock(*each) for each in ((16, 24, 1), (24, 32, 2), (32, 48, 2)))
        self.scores, self.boxes = nn.Conv2d(48, 2, 1), nn.Conv2d(48, 2 * 16, 1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = functional.relu(self.stem(functional.pad(image, (1, 2, 1, 2))))
        for block in self.blocks:
            x = block(x)
        scores = self.scores(x).permute(0, 2, 3, 1).reshape(len(x), -1, 1)
        boxes = self.boxes(x).permute(0, 2, 3, 1).reshape(len(x), -1, 8, 2)
        centres = ((places(*x.shape[-2:]) + 0.5) / x.shape[-1]).repeat_interleave(2, 0)
        corners = boxes[:, :, :1] / 64 + centres[:, None]
        points = boxes[:, :, 2:] / 64 + centres[:, None]
        both = torch.cat((corners, boxes[:, :, 1:2] / 64, points), 2)
        return scores.clamp(-100, 100).sigmoid(), both.flatten(2)


class _BlazeBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride, self.added = stride, outputs - inputs
        padding = 2 if stride == 1 else 0
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, inputs, 5, stride, padding, groups=inputs), nn.Conv2d(inputs, outputs, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.stride == 1:
            return functional.relu(self.layers(x) + functional.pad(x, (0, 0, 0, 0, 0, self.added)))
        short = functional.pad(functional.max_pool2d(x, 2, 2), (0, 0, 0, 0, 0, self.added))
        return functional.relu(self.layers(functional.pad(x, (1, 2, 1, 2))) + short)


class Detr(nn.Module):
    """Learned queries attend to each other and to the image (Carion et al., "DETR", 2020)."""

    def __init__(self, width: int = 32, queries: int = 12) -> None:
        super().__init__()
        self.backbone, self.entry = Pyramid(), nn.Conv2d(64, width, 1)
        self.rows, self.columns = (nn.Parameter(torch.randn(4, width // 2)) for _ in range(2))
        self.queries = nn.Parameter(torch.randn(queries, width))
        self.own, self.cross = Attention(width, 4), Attention(width, 4)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.mlp, self.scores = Mlp(width, 64), nn.Linear(width, _CLASSES + 1)
        self.boxes = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.entry(self.backbone(image)[2])
        height, width = x.shape[-2:]
        at = (
            self.columns[:width].unsqueeze(0).repeat(height, 1, 1),
            self.rows[:height].unsqueeze(1).repeat(1, width, 1),
        )
        memory = x.flatten(2).permute(0, 2, 1) + torch.cat(at, -1).flatten(0, 1)
        found = self.queries.unsqueeze(0).expand(len(x), -1, -1)
        found = self.norms[0](found + self.own(found, found))
        found = self.norms[1](found + self.cross(found, memory))
        found = self.norms[2](found + self.mlp(found))
        return self.scores(found), self.boxes(found).sigmoid()


class DeformableDetr(nn.Module):
    """Each query samples a few points of each level (Zhu et al., "Deformable DETR", 2021)."""

    heads, points, levels = 4, 3, 2

    def __init__(self, width: int = 32, queries: int = 10) -> None:
        super().__init__()
        self.backbone = Pyramid()
        self.entries = nn.ModuleList(nn.Conv2d(each, width, 1) for each in _WIDTHS[1:])
        self.queries = nn.Parameter(torch.randn(queries, width))
        self.own, self.value = Attention(width, 4), nn.Linear(width, width)
        each = self.heads * self.levels * self.points
        self.offsets, self.weights = nn.Linear(width, 2 * each), nn.Linear(width, each)
        self.references, self.out = nn.Linear(width, 2), nn.Linear(width, width)
        self.boxes = nn.Linear(width, 4)
        self.pooled = nn.Linear(width, width)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        maps = [entry(x) for entry, x in zip(self.entries, self.backbone(image)[1:], strict=True)]
        query = self.queries.unsqueeze(0) + self.pooled(maps[1].mean((2, 3))).unsqueeze(1)
        query = query + self.own(query, query)
        batch, count, width = query.shape
        shape = (batch, count, self.heads, self.levels, self.points)
        weights = self.weights(query).view(*shape[:3], -1).softmax(-1).view(shape)
        offsets = self.offsets(query).view(*shape, 2) * 0.1
        at = 2 * (self.references(query).sigmoid()[:, :, None, None, None] + offsets) - 1
        sampled = []
        for level, x in enumerate(maps):
            value = self.value(x.flatten(2).transpose(1, 2)).transpose(1, 2)
            value = value.reshape(batch * self.heads, width // self.heads, *x.shape[-2:])
            grid = at[:, :, :, level].transpose(1, 2).flatten(0, 1)
            sampled.append(functional.grid_sample(value, grid, "bilinear", "zeros", align_corners=False))
        stacked = torch.stack(sampled, -2).flatten(-2)
        shares = weights.transpose(1, 2).reshape(batch * self.heads, 1, count, -1)
        summed = (stacked * shares).sum(-1).view(batch, width, count).transpose(1, 2)
        return self.boxes(query + self.out(summed)).sigmoid()


def suppressed() -> onnx.ModelProto:
    """NonMaxSuppression of boxes by scores, and the boxes that it leaves, as deployment tools append it."""
    random = np.random.default_rng(0)
    constants = {
        "kernel": random.normal(size=(8, 8)).astype(np.float32) / 3,
        "axis": np.array(2),
        "column": np.array([2]),
        "most": np.array([4]),
        "overlap": np.array([0.4], np.float32),
        "least": np.array([0.3], np.float32),
        "flat": np.array([-1]),
    }
    nodes = [
        helper.make_node("MatMul", ["features", "kernel"], ["mixed"]),
        helper.make_node("Sigmoid", ["mixed"], ["shares"]),
        helper.make_node("Split", ["shares", "parts"], ["corner", "size", "chances"], axis=2),
        helper.make_node("Add", ["corner", "size"], ["other"]),
        helper.make_node("Concat", ["corner", "other"], ["all_boxes"], axis=2),
        helper.make_node("Transpose", ["chances"], ["all_scores"], perm=[0, 2, 1]),
        helper.make_node(
            "NonMaxSuppression", ["all_boxes", "all_scores", "most", "overlap", "least"], ["chosen"]
        ),
        helper.make_node("Gather", ["chosen", "axis"], ["places"], axis=1),
        helper.make_node("Squeeze", ["all_boxes", "first"], ["rows"]),
        helper.make_node("Gather", ["rows", "places"], ["boxes"]),
    ]
    constants |= {"parts": np.array([2, 2, 4]), "first": np.array([0])}
    used = {name for each in nodes for name in each.input}
    graph = helper.make_graph(
        nodes,
        "suppressed",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, 30, 8])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [None, 4]),
            helper.make_tensor_value_info("chosen", TensorProto.INT64, [None, 3]),
        ],
        [numpy_helper.from_array(values, name) for name, values in constants.items() if name in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def _features(random: Random, _: int) -> Sample:
    return {"features": floats(random, 1, 30, 8)}


_CHOSEN = "what is chosen changes with a rounding"
NETWORKS = (
    Network("ssd", "priors decoded", Ssd, image, ("scores", "boxes"), "TorchScript", 13, classes=2),
    Network("retinanet", "one head on a pyramid", RetinaNet, image, ("scores", "boxes"), classes=2),
    Network(
        "fcos",
        "GroupNorm on a pyramid, open height and width",
        Fcos,
        image,
        ("scores", "sides", "centres"),
        "TorchScript",
        17,
        (64, 96, 80),
        {"image": {2: "height", 3: "width"}},
    ),
    Network(
        "centernet",
        "peaks by MaxPool, TopK",
        CenterNet,
        image,
        ("boxes", "scores", "labels"),
        "TorchScript",
        17,
        no_int8=_CHOSEN,
    ),
    Network(
        "blazeface",
        "padded channels, anchors",
        BlazeFace,
        image,
        ("scores", "boxes"),
        "dynamo, not optimised",
    ),
    Network("detr", "queries attend to the image", Detr, image, ("scores", "boxes"), classes=2),
    Network(
        "deformable_detr",
        "attention by GridSample",
        DeformableDetr,
        image,
        ("boxes",),
        "TorchScript",
        16,
    ),
    Network(
        "suppression",
        "NonMaxSuppression in the graph",
        suppressed,
        _features,
        ("boxes", "chosen"),
        exporter="onnx.helper",
        opset=13,
        no_int8=_CHOSEN,
    ),
)
