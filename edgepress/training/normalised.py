"""Normalisation as the network's first layer, so that no application can get it wrong."""

from collections.abc import Sequence

import torch
from torch import nn


class Normalised(nn.Module):
    """`net` behind (x − mean) · (1 / std) per channel, so that it takes raw images (N, C, H, W)."""

    input_mean: torch.Tensor
    input_scale: torch.Tensor

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("input_mean", _per_channel(mean))
        self.register_buffer("input_scale", _per_channel([1 / value for value in std]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The network's output for raw inputs (N, C, H, W)."""
        return self.net((x - self.input_mean) * self.input_scale)  # type: ignore[no-any-return]


def _per_channel(values: Sequence[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1)
