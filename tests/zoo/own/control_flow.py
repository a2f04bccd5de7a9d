"""Branches and loops that depend on what goes in."""

import torch
from torch import nn

from tests.zoo.own.blocks import Pyramid
from tests.zoo.own.network import Network, Random, Sample, floats, image


class EarlyExit(nn.Module):
    """Only what is not clear after the first layers is looked at by the others
    (Teerapittayanon et al., "BranchyNet", 2016).
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Pyramid()
        self.early, self.late = nn.Linear(16, 5), nn.Linear(64, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        low = self.backbone.stages[0](self.backbone.stem(image))
        first = self.early(low.mean((2, 3)))
        clear = first.softmax(1).max() > 0.4
        if torch.compiler.is_exporting():
            return torch.cond(clear, self.enough, self.rest, (low, first))
        return self.enough(low, first) if clear else self.rest(low, first)

    def enough(self, low: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
        return first.clone()

    def rest(self, low: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
        return self.late(self.backbone.stages[2](self.backbone.stages[1](low)).mean((2, 3)))


class Switched(nn.Module):
    """One of two layers, by a flag that goes in."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.last = nn.Linear(12, 16), nn.Linear(12, 16), nn.Linear(16, 5)

    def forward(self, features: torch.Tensor, adapt: torch.Tensor) -> torch.Tensor:
        if bool(adapt):  # noqa: SIM108 (a script of statements)
            x = torch.relu(self.one(features))
        else:
            x = torch.tanh(self.other(features)) * 2
        return self.last(x)


class Steps(nn.Module):
    """As many steps of a solver as are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.change, self.last = nn.Linear(12, 12), nn.Linear(12, 4)

    def forward(self, state: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        for _ in range(int(steps)):
            state = state + 0.2 * torch.tanh(self.change(state))
        return self.last(state)


class Until(nn.Module):
    """Steps until they become small, or there were enough (Bai et al., "Deep Equilibrium Models", 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.entry, self.change = nn.Linear(12, 12), nn.Linear(12, 12)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        entry = self.entry(features)
        state, apart, steps = torch.zeros_like(entry), torch.ones(1), 0
        while bool((apart > 0.05).all()) and steps < 30:
            changed = torch.tanh(0.4 * self.change(state) + entry)
            apart = (changed - state).abs().max().reshape(1)
            state, steps = changed, steps + 1
        return state, torch.tensor(steps)


def _switch(random: Random, _: int) -> Sample:
    return {"features": floats(random, 1, 12), "adapt": random.integers(0, 2, ()).astype(bool).reshape(())}


def _steps(random: Random, _: int) -> Sample:
    return {"state": floats(random, 1, 12), "steps": random.integers(1, 9, ()).reshape(())}


def _features(random: Random, _: int) -> Sample:
    return {"features": floats(random, 1, 12)}


NETWORKS = (
    Network(
        "early_exit",
        "If by a confidence",
        EarlyExit,
        image,
        ("scores",),
    ),
    Network(
        "switched",
        "If by an input",
        Switched,
        _switch,
        ("scores",),
        "TorchScript of a script",
        17,
    ),
    Network(
        "steps",
        "Loop, its count an input",
        Steps,
        _steps,
        ("scores",),
        "TorchScript of a script",
        17,
    ),
    Network(
        "equilibrium",
        "Loop until a condition holds",
        Until,
        _features,
        ("state", "steps"),
        "TorchScript of a script",
        13,
        no_int8="how many steps it takes changes with a rounding",
    ),
)
