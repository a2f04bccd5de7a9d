"""What several of the networks are made of."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional


def conv(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    """Convolution, BatchNormalization and, unless it is None, an activation."""
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([activation()] if activation is not None else []))


def separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A depthwise and a pointwise convolution, as MobileNet has them."""
    return nn.Sequential(conv(inputs, inputs, 3, stride, inputs), conv(inputs, outputs, 1))


class Pyramid(nn.Module):
    """Features at strides 4, 8 and 16, each twice as wide as the one before."""

    def __init__(self, width: int = 16, activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.stem = conv(3, width, 3, 2, activation=activation)
        self.stages = nn.ModuleList(
            conv(width << max(level - 1, 0), width << level, 3, 2, activation=activation)
            for level in range(3)
        )

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        x, found = self.stem(image), []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


class FeaturePyramid(nn.Module):
    """Top-down: each level is a 1×1 convolution of its own and the one above, upsampled to its size."""

    def __init__(self, widths: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(width, outputs, 1) for width in widths)
        self.smooth = nn.ModuleList(nn.Conv2d(outputs, outputs, 3, padding=1) for _ in widths)

    def forward(self, levels: list[torch.Tensor]) -> list[torch.Tensor]:
        merged: list[torch.Tensor] = []
        for lateral, level in reversed(list(zip(self.laterals, levels, strict=True))):
            x = lateral(level)
            if merged:
                x = x + functional.interpolate(merged[0], size=x.shape[-2:], mode="nearest")
            merged.insert(0, x)
        return [smooth(x) for smooth, x in zip(self.smooth, merged, strict=True)]


class Attention(nn.Module):
    """Multi-head attention as most write it by hand; `bias` is added to the scores before the softmax."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def split(self, x: torch.Tensor) -> torch.Tensor:
        """(N, length, width) → (N, heads, length, width / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: torch.Tensor, context: torch.Tensor, bias: Any = None) -> torch.Tensor:
        q, k, v = self.split(self.query(x)), self.split(self.key(context)), self.split(self.value(context))
        scores = q @ k.transpose(-2, -1) * self.scale
        weights = (scores if bias is None else scores + bias).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class Mlp(nn.Sequential):
    """Two dense layers with GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class Transformer(nn.Module):
    """A block of self-attention and dense layers, each normalised first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.before, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.mlp = nn.Sequential(nn.LayerNorm(width), Mlp(width, 2 * width))

    def forward(self, x: torch.Tensor, bias: Any = None) -> torch.Tensor:
        normed = self.before(x)
        x = x + self.attention(normed, normed, bias)
        return x + self.mlp(x)


def places(height: int, width: int) -> torch.Tensor:
    """The column and the row of each place of a map, (height·width, 2) in float32."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack((columns, rows), -1).reshape(-1, 2).float()
