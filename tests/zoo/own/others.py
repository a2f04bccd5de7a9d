"""Networks of other tasks: of several inputs, graphs, points, movement, depth."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from tests.zoo.own.blocks import Attention, Pyramid, conv, places, separable
from tests.zoo.own.network import Network, Random, Sample, draws, floats, image, tokens
from tests.zoo.photos import crop


class TwoTowers(nn.Module):
    """An image and a text to vectors, and how alike these are (Radford et al., "CLIP", 2021)."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.backbone, self.image = Pyramid(), nn.Linear(64, width, bias=False)
        self.words, self.attention = nn.Embedding(40, width), Attention(width, 4)
        self.text, self.scale = nn.Linear(width, width, bias=False), nn.Parameter(torch.tensor(1.5))

    def forward(self, image: torch.Tensor, input_ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        seen = functional.normalize(self.image(self.backbone(image)[2].mean((2, 3))), dim=-1)
        x = self.words(input_ids)
        x = x + self.attention(x, x)
        end = x[torch.arange(len(x)), input_ids.argmax(-1)]
        read = functional.normalize(self.text(end), dim=-1)
        return self.scale.exp() * seen @ read.T, seen, read


class Metadata(nn.Module):
    """An image with a vector of numbers and a category."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(conv(3, 16, 3, 2), separable(16, 32, 2))
        self.kinds, self.dense = (
            nn.Embedding(6, 8),
            nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU()),
        )
        self.head = nn.Linear(32 + 8 + 16, 5)

    def forward(self, image: torch.Tensor, numbers: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        seen = functional.adaptive_avg_pool2d(self.layers(image), 1).flatten(1)
        return self.head(torch.cat((seen, self.dense(numbers), self.kinds(kind)), 1))


class GraphNetwork(nn.Module):
    """Messages along edges, added up where they end (Gilmer et al., "Neural Message Passing", 2017)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.entry, self.head = nn.Linear(6, width), nn.Linear(width, 3)
        self.message, self.update = nn.Linear(2 * width, width), nn.GRUCell(width, width)

    def forward(self, nodes: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        x, (source, target) = torch.tanh(self.entry(nodes)), (edges[0], edges[1])
        for _ in range(2):
            sent = functional.relu(self.message(torch.cat((x[source], x[target]), 1)))
            x = self.update(torch.zeros_like(x).scatter_add(0, target[:, None].expand_as(sent), sent), x)
        return self.head(x)


class PointNet(nn.Module):
    """A matrix for the points, found from them, and the largest of each feature (Qi et al., 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.turn = nn.Conv1d(3, 24, 1), nn.Linear(24, 9)
        self.layers = nn.Sequential(nn.Conv1d(3, 24, 1), nn.BatchNorm1d(24), nn.ReLU(), nn.Conv1d(24, 48, 1))
        self.head = nn.Sequential(nn.Linear(48, 24), nn.ReLU(), nn.Linear(24, 6))

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        x = points.transpose(1, 2)
        turn = self.turn(functional.relu(self.first(x)).max(2)[0]).view(-1, 3, 3) * 0.3 + torch.eye(3)
        return self.head(self.layers(torch.bmm(points, turn).transpose(2, 1)).max(2)[0])


class Flow(nn.Module):
    """The movement between two images, by which the second is drawn onto the first."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(conv(6, 16, 3, 2), conv(16, 16), nn.Conv2d(16, 2, 3, padding=1))

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        flow = functional.interpolate(
            self.net(torch.cat((first, second), 1)), scale_factor=2.0, mode="bilinear"
        )
        height, width = flow.shape[-2:]
        at = places(height, width).view(1, height, width, 2) + flow.permute(0, 2, 3, 1)
        grid = 2 * at / torch.tensor([width - 1.0, height - 1.0]) - 1
        return flow, functional.grid_sample(second, grid, padding_mode="border", align_corners=True)


class Depth(nn.Module):
    """ELU and reflected edges, a map at each of two sizes (Godard et al., "Monodepth2", 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Pyramid()
        self.joins = nn.ModuleList([nn.Conv2d(64 + 32, 32, 3), nn.Conv2d(32 + 16, 16, 3)])
        self.heads = nn.ModuleList([nn.Conv2d(32, 1, 3), nn.Conv2d(16, 1, 3)])

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        low, middle, x = self.backbone(image)
        found = []
        for skip, join, head in zip((middle, low), self.joins, self.heads, strict=True):
            x = torch.cat((functional.interpolate(x, scale_factor=2.0, mode="nearest"), skip), 1)
            x = functional.elu(join(functional.pad(x, (1, 1, 1, 1), "reflect")))
            disparity = head(functional.pad(x, (1, 1, 1, 1), "reflect")).sigmoid()
            found.append(1 / (0.1 + 9.9 * disparity))
        return found[1], found[0]


class Diffusion(nn.Module):
    """A denoiser that is told how noisy its image is, by sines (Ho et al., "DDPM", 2020)."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.entry, self.last = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)
        self.time = nn.Sequential(nn.Linear(16, width), nn.SiLU(), nn.Linear(width, width))
        self.norms = nn.ModuleList(nn.GroupNorm(4, width) for _ in range(3))
        self.layers = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.attention = Attention(width, 2)

    def forward(self, image: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        speeds = torch.exp(-torch.arange(8).float())
        angles = step.float().unsqueeze(1) * speeds
        noise = self.time(torch.cat((angles.sin(), angles.cos()), 1))[:, :, None, None]
        x = self.entry(image)
        hidden = self.layers[0](functional.silu(self.norms[0](x))) + noise
        x = x + self.layers[1](functional.silu(self.norms[1](hidden)))
        rows = functional.avg_pool2d(self.norms[2](x), 4).flatten(2).transpose(1, 2)
        seen = self.attention(rows, rows).transpose(1, 2).unflatten(2, (x.shape[2] // 4, -1))
        return self.last(x + functional.interpolate(seen, scale_factor=4.0, mode="nearest"))


class Tracker(nn.Module):
    """One image's features as the kernel over another's (Bertinetto et al., "SiamFC", 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(conv(3, 12, 3, 2), nn.Conv2d(12, 16, 3, 2))

    def forward(self, target: torch.Tensor, scene: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(self.layers(scene), self.layers(target)) * 0.01


def _image_and_text(random: Random, size: int) -> Sample:
    return {**image(random, size), "input_ids": tokens(random, 9, 40)}


def _image_and_row(random: Random, size: int) -> Sample:
    return {**image(random, size), "numbers": floats(random, 1, 5), "kind": random.integers(0, 6, (1,))}


def _graph(random: Random, _: int) -> Sample:
    return {"nodes": floats(random, 10, 6), "edges": random.integers(0, 10, (2, 24))}


def _noisy(random: Random, size: int) -> Sample:
    return {**image(random, size), "step": random.integers(0, 50, (1,))}


def _two_images(first: str, second: str, small: int) -> Callable[[Random, int], Sample]:
    return lambda random, size: {first: crop(random, small or size), second: crop(random, size)}


NETWORKS = (
    Network(
        "two_towers",
        "an image and tokens",
        TwoTowers,
        _image_and_text,
        ("likeness", "seen", "read"),
    ),
    Network(
        "image_metadata",
        "an image, numbers and a category",
        Metadata,
        _image_and_row,
        exporter="TorchScript",
        opset=11,
    ),
    Network(
        "graph_network",
        "Gather and ScatterElements that adds, GRUCell",
        GraphNetwork,
        _graph,
        exporter="TorchScript",
        opset=17,
    ),
    Network(
        "pointnet",
        "a computed matrix, maxima",
        PointNet,
        draws({"points": (1, 64, 3)}),
        classes=1,
        no_oracle="LiteRT crashes in what TensorFlow's converter makes of it",
    ),
    Network(
        "flow",
        "two images, GridSample",
        Flow,
        _two_images("first", "second", 0),
        ("flow", "warped"),
        "TorchScript",
        17,
        (32,),
    ),
    Network("depth", "ELU, reflected edges, two sizes", Depth, image, ("depth", "half"), "TorchScript", 11),
    Network(
        "diffusion",
        "an image and its step, Sin and Cos",
        Diffusion,
        _noisy,
        sizes=(32,),
    ),
    Network(
        "tracker",
        "a computed kernel",
        Tracker,
        _two_images("target", "scene", 32),
        exporter="TorchScript",
        opset=13,
    ),
)
