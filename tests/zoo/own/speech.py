"""Sound: with states that go in and out, and with the spectrum computed in the graph."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tests.zoo.own.blocks import Mlp
from tests.zoo.own.network import Network, Random, Sample, draws, floats, sound, tokens

Pair = tuple[torch.Tensor, torch.Tensor]
Three = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class StreamingGru(nn.Module):
    """A keyword spotter that takes a few frames at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(20, 24, 2, batch_first=True), nn.Linear(24, 6)

    def forward(self, frames: torch.Tensor, state: torch.Tensor) -> Pair:
        x, state = self.gru(frames, state)
        return self.head(x[:, -1]), state


class VoiceActivity(nn.Module):
    """Convolutions on raw sound, and an LSTM whose two states the caller keeps, as Silero's does."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(1, 16, 16, 8), nn.ReLU(), nn.Conv1d(16, 24, 3, 2, 1), nn.BatchNorm1d(24), nn.ReLU()
        )
        self.lstm, self.head = nn.LSTM(24, 24), nn.Linear(24, 1)

    def forward(self, sound: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor) -> Three:
        x = self.layers(sound.unsqueeze(1)).permute(2, 0, 1)
        x, (hidden, cell) = self.lstm(x, (hidden, cell))
        return torch.sigmoid(self.head(functional.relu(x[-1]))), hidden, cell


class CachedTcn(nn.Module):
    """Causal dilated convolutions; the ends of their inputs are kept for the next call."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.entry, self.head = nn.Conv1d(20, width, 1), nn.Conv1d(width, 5, 1)
        self.layers = nn.ModuleList(nn.Conv1d(width, width, 3, dilation=1 << level) for level in range(3))

    def forward(self, frames: torch.Tensor, cache: torch.Tensor) -> Pair:
        x, kept, at = self.entry(frames), [], 0
        for level, layer in enumerate(self.layers):
            reach = 2 << level
            joined = torch.cat((cache[:, :, at : at + reach], x), 2)
            kept.append(joined[:, :, -reach:])
            x, at = x + functional.relu(layer(joined)), at + reach
        return self.head(x), torch.cat(kept, 2)


class Conformer(nn.Module):
    """Attention with relative places, and a gated convolution (Gulati et al., "Conformer", 2020)."""

    def __init__(self, width: int = 32, heads: int = 4, length: int = 24) -> None:
        super().__init__()
        self.entry, self.first, self.last = nn.Linear(20, width), Mlp(width, 64), Mlp(width, 64)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(5))
        self.query, self.key, self.value, self.place = (nn.Linear(width, width) for _ in range(4))
        self.heads, self.out = heads, nn.Linear(width, width)
        self.u, self.v = (nn.Parameter(torch.randn(heads, 1, width // heads) * 0.3) for _ in range(2))
        self.register_buffer("table", torch.randn(1, 2 * length - 1, width))
        self.gate, self.mix = nn.Conv1d(width, 2 * width, 1), nn.Conv1d(width, width, 1)
        self.local, self.norm = nn.Conv1d(width, width, 7, padding=3, groups=width), nn.BatchNorm1d(width)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        x = self.entry(frames)
        x = x + 0.5 * self.first(self.norms[0](x))
        x = x + self.attend(self.norms[1](x))
        local = functional.glu(self.gate(self.norms[2](x).transpose(1, 2)), 1)
        x = x + self.mix(functional.silu(self.norm(self.local(local)))).transpose(1, 2)
        return self.norms[4](x + 0.5 * self.last(self.norms[3](x)))

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v, p = (
            layer(each).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, each in zip(
                (self.query, self.key, self.value, self.place), (x, x, x, self.table), strict=True
            )
        )
        by_place = self.shifted((q + self.v) @ p.transpose(-2, -1))
        scores = ((q + self.u) @ k.transpose(-2, -1) + by_place) * k.shape[-1] ** -0.5
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))

    def shifted(self, x: torch.Tensor) -> torch.Tensor:
        """Scores by distance → by place: Transformer-XL's padding, folding and cutting."""
        batch, heads, length, distances = x.shape
        x = functional.pad(x, (1, 0)).view(batch, heads, distances + 1, length)
        return x[:, :, 1:].reshape(batch, heads, length, distances)[..., :length]


class LogMel(nn.Module):
    """The log-mel spectrum by a convolution with sines, as Whisper bounds it, and a small classifier."""

    def __init__(self, window: int = 128, bands: int = 20) -> None:
        super().__init__()
        self.hop, bins = window // 2, window // 2 + 1
        angles = 2 * np.pi / window * np.outer(np.arange(bins), np.arange(window))
        waves = np.concatenate((np.cos(angles), np.sin(angles))) * np.hanning(window)
        edges, at = np.linspace(0, bins, bands + 2), np.arange(bins)
        slopes = (at - edges[:-2, None], edges[2:, None] - at)
        self.register_buffer("waves", torch.tensor(waves[:, None], dtype=torch.float32))
        mel = np.minimum(*slopes).clip(0) / (bins / bands)
        self.register_buffer("mel", torch.tensor(mel, dtype=torch.float32))
        self.layers = nn.Sequential(nn.Conv1d(bands, 24, 3, 2, 1), nn.BatchNorm1d(24), nn.ReLU())
        self.head = nn.Linear(24, 6)

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        real, imaginary = functional.conv1d(sound.unsqueeze(1), self.waves, stride=self.hop).chunk(2, 1)
        spectrum = (self.mel @ (real**2 + imaginary**2)).clamp(min=1e-10).log10()
        bounded = (torch.maximum(spectrum, spectrum.max() - 8.0) + 4.0) / 4.0
        return self.head(self.layers(bounded).mean(-1))


class Masks(nn.Module):
    """Two LSTMs make masks, of a spectrum and of learned features (Westhausen and Meyer, "DTLN", 2020)."""

    def __init__(self, bins: int = 33, features: int = 32) -> None:
        super().__init__()
        self.first, self.first_mask = nn.LSTM(bins, 24, batch_first=True), nn.Linear(24, bins)
        self.encode, self.norm = nn.Conv1d(bins, features, 1, bias=False), nn.LayerNorm(features)
        self.second, self.second_mask = nn.LSTM(features, 24, batch_first=True), nn.Linear(24, features)
        self.decode = nn.Conv1d(features, bins, 1, bias=False)

    def forward(self, magnitude: torch.Tensor, states: torch.Tensor) -> Pair:
        x, (h1, c1) = self.first(magnitude, (states[0:1], states[1:2]))
        masked = magnitude * torch.sigmoid(self.first_mask(x))
        encoded = self.encode(masked.transpose(1, 2)).transpose(1, 2)
        x, (h2, c2) = self.second(self.norm(encoded), (states[2:3], states[3:4]))
        estimated = encoded * torch.sigmoid(self.second_mask(x))
        return self.decode(estimated.transpose(1, 2)), torch.cat((h1, c1, h2, c2))


class Vocoder(nn.Module):
    """Transposed convolutions up to sound, kernels of several reaches (Kong et al., "HiFi-GAN", 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = nn.Conv1d(20, 32, 7, padding=3)
        self.ups = nn.ModuleList([nn.ConvTranspose1d(32, 16, 8, 4, 2), nn.ConvTranspose1d(16, 8, 4, 2, 1)])
        self.blocks = nn.ModuleList(
            nn.ModuleList(nn.Conv1d(width, width, 3, padding=rate, dilation=rate) for rate in (1, 3, 5))
            for width in (16, 8)
        )
        self.last = nn.Conv1d(8, 1, 7, padding=3)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        x = self.entry(mel)
        for up, block in zip(self.ups, self.blocks, strict=True):
            x = up(functional.leaky_relu(x, 0.1))
            x = sum(x + layer(functional.leaky_relu(x, 0.1)) for layer in block) / 3
        return torch.tanh(0.5 * self.last(functional.leaky_relu(x)))


class Transducer(nn.Module):
    """An RNN-T's predictor and joint network: the last symbol and a frame to the next symbol's scores."""

    def __init__(self, symbols: int = 30, width: int = 24) -> None:
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(symbols, width), nn.LSTM(width, width, 2, batch_first=True)
        self.audio, self.text, self.joint = (nn.Linear(*n) for n in ((20, 32), (width, 32), (32, symbols)))

    def forward(
        self, symbol: torch.Tensor, frame: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor
    ) -> Three:
        x, (hidden, cell) = self.lstm(self.embedding(symbol), (hidden, cell))
        return self.joint(torch.tanh(self.audio(frame) + self.text(x))), hidden, cell


class Speaker(nn.Module):
    """Mean and deviation over time, weighed by attention (Desplanques et al., "ECAPA-TDNN", 2020)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(20, width, 5, padding=2), nn.ReLU(), nn.BatchNorm1d(width))
        self.squeeze, self.excite = nn.Conv1d(width, 8, 1), nn.Conv1d(8, width, 1)
        self.look, self.weigh = nn.Conv1d(3 * width, 16, 1), nn.Conv1d(16, width, 1)
        self.norm, self.head = nn.BatchNorm1d(2 * width), nn.Linear(2 * width, 24)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        x = self.layers(frames)
        x = x * torch.sigmoid(self.excite(functional.relu(self.squeeze(x.mean(2, keepdim=True)))))
        context = torch.cat((x.mean(2, keepdim=True), x.std(2, keepdim=True)), 1).expand(-1, -1, x.shape[2])
        weights = self.weigh(torch.tanh(self.look(torch.cat((x, context), 1)))).softmax(2)
        mean = (weights * x).sum(2)
        deviation = ((weights * x**2).sum(2) - mean**2).clamp(min=1e-4).sqrt()
        return functional.normalize(self.head(self.norm(torch.cat((mean, deviation), 1))))


def _sound(random: Random, size: int) -> Sample:
    return {"sound": sound(random, 16 * size)}


def _sound_and_states(random: Random, size: int) -> Sample:
    states = {name: 0.5 * floats(random, 1, 1, 24) for name in ("hidden", "cell")}
    return {"sound": sound(random, 8 * size), **states}


def _symbol(random: Random, _: int) -> Sample:
    states = {name: 0.5 * floats(random, 2, 1, 24) for name in ("hidden", "cell")}
    return {"symbol": tokens(random, 1, 30), "frame": floats(random, 1, 1, 20), **states}


def _frames(random: Random, length: int) -> Sample:
    return {"frames": floats(random, 1, 20, length)}


NETWORKS = (
    Network(
        "streaming_gru",
        "GRU, its state in and out",
        StreamingGru,
        draws({"frames": (1, 8, 20), "state": (2, 1, 24)}),
        ("scores", "next_state"),
        "TorchScript",
        17,
    ),
    Network(
        "voice_activity",
        "raw sound, LSTM, both states in and out",
        VoiceActivity,
        _sound_and_states,
        ("voice", "next_hidden", "next_cell"),
    ),
    Network(
        "cached_tcn",
        "causal, ends of inputs in and out",
        CachedTcn,
        draws({"frames": (1, 20, 16), "cache": (1, 16, 14)}),
        ("scores", "next_cache"),
        "dynamo, not optimised",
    ),
    Network("conformer", "relative places, GLU", Conformer, draws({"frames": (1, 24, 20)}), ("features",)),
    Network(
        "log_mel",
        "spectrum in the graph, computed bound",
        LogMel,
        _sound,
        ("scores",),
        "TorchScript",
        17,
        classes=1,
        no_int8="8 bits do not hold powers over which a logarithm is taken",
    ),
    Network(
        "dtln_masks",
        "two LSTMs with states in one tensor",
        Masks,
        draws({"magnitude": (1, 10, 33), "states": (4, 1, 24)}),
        ("estimated", "next_states"),
        "TorchScript",
        13,
    ),
    Network("vocoder", "up to sound by ConvTranspose", Vocoder, draws({"mel": (1, 20, 16)}), ("sound",)),
    Network(
        "transducer",
        "a token, a frame, two states",
        Transducer,
        _symbol,
        ("scores", "next_hidden", "next_cell"),
        "TorchScript",
        11,
    ),
    Network(
        "speaker",
        "weighed mean and deviation, open length",
        Speaker,
        _frames,
        ("embedding",),
        "dynamo",
        18,
        (40, 56, 25),
        {"frames": {2: "length"}},
    ),
)
