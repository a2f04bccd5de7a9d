"""Text: numbers of tokens in, attention with masks, caches of keys and values, and older forms."""

import torch
from torch import nn
from torch.nn import functional

from tests.zoo.own.blocks import Attention, Mlp, Transformer
from tests.zoo.own.network import Network, Random, Sample, floats, tokens

_WORDS = 50


class Bert(nn.Module):
    """Three embeddings, a mask of −10,000 on the scores, a pooled first token (Devlin et al., 2019)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.words, self.types = nn.Embedding(_WORDS, width), nn.Embedding(2, width)
        self.positions, self.norm = nn.Embedding(64, width), nn.LayerNorm(width, eps=1e-12)
        self.blocks = nn.ModuleList(_PostNorm(width) for _ in range(2))
        self.pooler, self.head = nn.Linear(width, width), nn.Linear(width, 4)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        positions = torch.arange(input_ids.shape[1]).unsqueeze(0)
        x = self.words(input_ids) + self.types(token_type_ids) + self.positions(positions)
        bias, x = (1.0 - attention_mask[:, None, None, :].float()) * -10000.0, self.norm(x)
        for block in self.blocks:
            x = block(x, bias)
        return self.head(torch.tanh(self.pooler(x[:, 0]))), x


class _PostNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention, self.mlp = Attention(width, 4), Mlp(width, 2 * width)
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=1e-12) for _ in range(2))

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        x = self.norms[0](x + self.attention(x, x, bias))
        return self.norms[1](x + self.mlp(x))


class Gpt(nn.Module):
    """A step of generation: keys and values of what came before go in, and out with the new ones."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.words, self.positions, self.heads = nn.Embedding(_WORDS, width), nn.Embedding(64, width), heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.three, self.out, self.mlp = nn.Linear(width, 3 * width), nn.Linear(width, width), Mlp(width, 64)

    def forward(
        self, input_ids: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        past, new = keys.shape[2], input_ids.shape[1]
        x = self.words(input_ids) + self.positions(torch.arange(past, past + new))
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.three(self.norms[0](x)).chunk(3, -1)
        )
        keys, values = torch.cat((keys, key), 2), torch.cat((values, value), 2)
        seen = torch.ones(new, past + new, dtype=torch.bool).tril(past)
        scores = (query @ keys.transpose(-2, -1) / keys.shape[-1] ** 0.5).masked_fill(~seen, float("-inf"))
        x = x + self.out((scores.softmax(-1) @ values).transpose(1, 2).flatten(2))
        x = x + self.mlp(self.norms[1](x))
        return self.norms[2](x) @ self.words.weight.T, keys, values


class Llama(nn.Module):
    """RMSNorm, rotated queries and keys, grouped keys, SwiGLU (Touvron et al., "LLaMA", 2023)."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.words, self.heads = nn.Embedding(_WORDS, width), heads
        self.norms = nn.ParameterList(0.5 + torch.rand(width) for _ in range(3))
        self.query, self.out = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.key, self.value = (nn.Linear(width, width // 2, bias=False) for _ in range(2))
        self.gate, self.up = (nn.Linear(width, 64, bias=False) for _ in range(2))
        self.down, self.head = nn.Linear(64, width, bias=False), nn.Linear(width, _WORDS, bias=False)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.words(input_ids)
        x = x + self.attend(self.norm(x, 0))
        normed = self.norm(x, 1)
        x = x + self.down(functional.silu(self.gate(normed)) * self.up(normed))
        return self.head(self.norm(x, 2))

    def norm(self, x: torch.Tensor, index: int) -> torch.Tensor:
        return self.norms[index] * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        each = x.shape[-1] // self.heads
        q, k, v = (
            layer(x).unflatten(-1, (-1, each)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        speeds = 100.0 ** (-torch.arange(0, each, 2).float() / each)
        angles = torch.outer(torch.arange(x.shape[1]).float(), speeds).repeat(1, 2)
        q, k = (each * angles.cos() + _half_turned(each) * angles.sin() for each in (q, k))
        mask = torch.full((x.shape[1], x.shape[1]), float("-inf")).triu(1)
        scores = (q @ k.transpose(-2, -1) * each**-0.5 + mask).softmax(-1)
        return self.out((scores @ v).transpose(1, 2).flatten(2))


def _half_turned(x: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat((-second, first), -1)


class TextCnn(nn.Module):
    """Kernels over 3, 4 and 5 words, the largest of each (Kim, 2014)."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(_WORDS, 24), nn.Linear(36, 4)
        self.kernels = nn.ModuleList(nn.Conv1d(24, 12, reach) for reach in (3, 4, 5))

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.words(input_ids).transpose(1, 2)
        return self.head(torch.cat([functional.relu(kernel(x)).amax(2) for kernel in self.kernels], 1))


class Tagger(nn.Module):
    """A class for each word by a BiLSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(_WORDS, 24, padding_idx=0), nn.Linear(32, 6)
        self.lstm = nn.LSTM(24, 16, batch_first=True, bidirectional=True)

    def forward(self, input_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = self.head(self.lstm(self.words(input_ids))[0])
        return scores, scores.argmax(-1)


class Sentence(nn.Module):
    """The mean over the words that a mask leaves, of length 1 (Reimers and Gurevych, 2019)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.words, self.block = nn.Embedding(_WORDS, width), Transformer(width, 4)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = attention_mask[:, None, None].to(torch.bool)
        bias = torch.where(hidden, 0.0, torch.finfo(torch.float32).min)
        x, mask = self.block(self.words(input_ids), bias), attention_mask.unsqueeze(-1).float()
        return functional.normalize((x * mask).sum(1) / mask.sum(1).clamp(min=1e-9), dim=1)


class T5(nn.Module):
    """A bias by distance, in buckets whose width grows (Raffel et al., "T5", 2020)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.words, self.attention = nn.Embedding(_WORDS, width), Attention(width, 4)
        self.bias, self.scale = nn.Embedding(16, 4), nn.Parameter(0.5 + torch.rand(width))

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        length, x = input_ids.shape[1], self.words(input_ids)
        distance = torch.arange(length)[None] - torch.arange(length)[:, None]
        bias = self.bias(self.bucket(distance)).permute(2, 0, 1).unsqueeze(0)
        normed = self.scale * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)
        return x + self.attention(normed, normed, bias)

    def bucket(self, distance: torch.Tensor) -> torch.Tensor:
        sign, size = (distance > 0).long() * 8, distance.abs()
        far = 4 + (torch.log(size.float().clamp(min=1) / 4) / 2.5 * 4).long()
        return sign + torch.where(size < 4, size, far.clamp(max=7))


class Decoder(nn.Module):
    """A translator's second half: it sees what it wrote, and what a mask leaves of what the first made."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(_WORDS, width), nn.Linear(width, _WORDS)
        self.layer = nn.TransformerDecoderLayer(width, 4, 64, dropout=0.0, batch_first=True)

    def forward(self, target_ids: torch.Tensor, memory: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        length = target_ids.shape[1]
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        x = self.layer(self.words(target_ids), memory, tgt_mask=later, memory_key_padding_mask=hidden)
        return self.head(x)


class Experts(nn.Module):
    """Each word to its two best of four dense layers (Shazeer et al., "Mixture-of-Experts", 2017)."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.words, self.gate = nn.Embedding(_WORDS, width), nn.Linear(width, 4)
        self.experts = nn.ModuleList(Mlp(width, 32) for _ in range(4))

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.words(input_ids)
        shares, chosen = self.gate(x).topk(2, -1)
        routes = torch.zeros(*x.shape[:2], 4).scatter(2, chosen, shares.softmax(-1))
        made = torch.stack([expert(x) for expert in self.experts], 2)
        return x + torch.einsum("nle,nlew->nlw", routes, made)


def _ids(random: Random, length: int) -> Sample:
    return {"input_ids": tokens(random, length, _WORDS)}


def _mask(random: Random, length: int) -> torch.Tensor:
    return (torch.arange(length)[None] < int(random.integers(length // 2, length + 1))).numpy()


def _masked(random: Random, length: int) -> Sample:
    return {**_ids(random, length), "attention_mask": _mask(random, length).astype("int64")}


def _typed(random: Random, length: int) -> Sample:
    return {**_masked(random, length), "token_type_ids": tokens(random, length, 2)}


def _one_more(random: Random, past: int) -> Sample:
    cache = {name: floats(random, 1, 4, past, 8) for name in ("keys", "values")}
    return {**_ids(random, 1), **cache}


def _two_texts(random: Random, length: int) -> Sample:
    memory = {"memory": floats(random, 1, 12, 32), "hidden": ~_mask(random, 12)}
    return {"target_ids": tokens(random, length, _WORDS), **memory}


NETWORKS = (
    Network(
        "bert",
        "ids, mask and types, open batch and length",
        Bert,
        _typed,
        ("scores", "features"),
        "TorchScript",
        13,
        (16, 24, 11),
        {name: {0: "batch", 1: "length"} for name in ("input_ids", "attention_mask", "token_type_ids")},
    ),
    Network(
        "gpt",
        "keys and values in and out, open past",
        Gpt,
        _one_more,
        ("scores", "next_keys", "next_values"),
        sizes=(8, 15, 3),
        open_axes={"keys": {2: "past"}, "values": {2: "past"}},
    ),
    Network(
        "llama",
        "RMSNorm, rotation, SwiGLU",
        Llama,
        _ids,
        ("scores",),
        sizes=(16,),
    ),
    Network(
        "text_cnn",
        "largest of each kernel",
        TextCnn,
        _ids,
        ("scores",),
        "TorchScript",
        11,
        (20,),
    ),
    Network(
        "tagger",
        "BiLSTM, ArgMax",
        Tagger,
        _ids,
        ("scores", "tags"),
        "TorchScript",
        17,
        (20,),
        no_int8="one of its outputs is whole numbers",
    ),
    Network(
        "sentence",
        "mean by a mask, open length",
        Sentence,
        _masked,
        ("vector",),
        sizes=(16, 9, 30),
        open_axes={"input_ids": {1: "length"}, "attention_mask": {1: "length"}},
    ),
    Network(
        "t5",
        "bias by distance",
        T5,
        _ids,
        ("features",),
        "dynamo, not optimised",
        sizes=(16,),
    ),
    Network(
        "decoder",
        "attends to a masked text",
        Decoder,
        _two_texts,
        ("scores",),
        sizes=(10,),
    ),
    Network(
        "experts",
        "TopK and Scatter route words",
        Experts,
        _ids,
        ("features",),
        "TorchScript",
        17,
        (12,),
    ),
)
