"""Volumes, series and tables."""

from itertools import pairwise

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

from tests.zoo.own.blocks import Attention
from tests.zoo.own.network import Network, Random, Sample, draws, floats


class Video(nn.Module):
    """Convolutions over time, height and width, split in two (Tran et al., "R(2+1)D", 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv3d(3, 12, (1, 3, 3), (1, 2, 2), (0, 1, 1)), nn.BatchNorm3d(12), nn.ReLU()),
            *(
                nn.Conv3d(12, 16, (3, 1, 1), padding=(1, 0, 0)),
                nn.ReLU(),
                nn.Conv3d(16, 24, 3, 2, 1),
                nn.ReLU(),
            ),
        )
        self.head = nn.Linear(24, 5)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return self.head(functional.adaptive_avg_pool3d(self.layers(clip), 1).flatten(1))


def _clip(random: Random, _: int) -> Sample:
    """Of noise, which is weaker or stronger and has a colour, so that the means of its features differ."""
    colour, contrast = 2 * floats(random, 1, 3, 1, 1, 1), np.float32(random.uniform(0.2, 2))
    return {"clip": contrast * floats(random, 1, 3, 4, 24, 24) + colour}


class Volume(nn.Module):
    """A U-Net of volumes (Çiçek et al., "3D U-Net", 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv3d(1, 8, 3, padding=1), nn.Conv3d(8, 16, 3, padding=1)
        self.up, self.last = nn.ConvTranspose3d(16, 8, 2, 2), nn.Conv3d(16, 3, 1)

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        first = functional.relu(self.first(volume))
        x = functional.relu(self.second(functional.max_pool3d(first, 2)))
        return self.last(torch.cat((self.up(x), first), 1))


class Autoencoder(nn.Module):
    """A signal to few numbers and back, and how far that is off."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv1d(4, 12, 7, 2, 3), nn.ReLU(), nn.Conv1d(12, 16, 7, 2, 3), nn.ReLU())
        self.code, self.back = nn.Linear(16 * 16, 8), nn.Linear(8, 16 * 16)
        self.up = nn.Sequential(
            *(nn.ConvTranspose1d(16, 12, 7, 2, 3, 1), nn.ReLU(), nn.ConvTranspose1d(12, 4, 7, 2, 3, 1))
        )

    def forward(self, signal: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        code = self.code(self.down(signal).flatten(1))
        again = self.up(functional.relu(self.back(code)).unflatten(1, (16, 16)))
        return again, (again - signal).square().mean((1, 2))


class Recommender(nn.Module):
    """A linear part and a deep one, of categories and numbers (Cheng et al., "Wide & Deep", 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(20, 8) for _ in range(4))
        self.wide = nn.Embedding(80, 1)
        self.deep = nn.Sequential(nn.Linear(4 * 8 + 6, 24), nn.ReLU(), nn.Linear(24, 1))

    def forward(self, categories: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        found = [table(categories[:, place]) for place, table in enumerate(self.tables)]
        wide = self.wide(categories + torch.arange(4) * 20).sum(1)
        return torch.sigmoid(wide + self.deep(torch.cat((*found, torch.log1p(numbers.abs())), 1)))


class Forecast(nn.Module):
    """Pieces of a series, scaled by its own mean and deviation (Nie et al., "PatchTST", 2023)."""

    def __init__(self) -> None:
        super().__init__()
        self.entry, self.attention, self.head = nn.Linear(8, 24), Attention(24, 4), nn.Linear(24 * 11, 12)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        mean, deviation = series.mean(1, keepdim=True), series.std(1, keepdim=True) + 1e-5
        x = self.entry(((series - mean) / deviation).unfold(1, 8, 4))
        return self.head((x + self.attention(x, x)).flatten(1)) * deviation + mean


def linear_classifier() -> onnx.ModelProto:
    """A logistic regression of rows, as skl2onnx writes scikit-learn's."""
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node(
            "Scaler",
            ["rows"],
            ["scaled"],
            domain="ai.onnx.ml",
            offset=random.normal(size=7),
            scale=random.uniform(0.5, 2, 7),
        ),
        helper.make_node(
            "LinearClassifier",
            ["scaled"],
            ["label", "raw"],
            domain="ai.onnx.ml",
            classlabels_ints=[10, 20, 30, 40],
            coefficients=random.normal(size=28),
            intercepts=random.normal(size=4),
            multi_class=1,
            post_transform="SOFTMAX",
        ),
        helper.make_node("Normalizer", ["raw"], ["probabilities"], domain="ai.onnx.ml", norm="L1"),
    ]
    return _of_rows(nodes, {})


def layered_classifier() -> onnx.ModelProto:
    """A multi-layer perceptron of rows, as skl2onnx writes scikit-learn's."""
    random, widths, constants = np.random.default_rng(0), (7, 12, 12, 4), dict[str, np.ndarray]()
    nodes, last = [helper.make_node("Cast", ["rows"], ["start"], to=TensorProto.FLOAT)], "start"
    for place, (inputs, outputs) in enumerate(pairwise(widths)):
        kernel, bias, product, added = (f"{stem}{place}" for stem in ("kernel", "bias", "product", "sum"))
        constants |= {
            kernel: random.normal(size=(inputs, outputs)).astype(np.float32),
            bias: random.normal(size=(1, outputs)).astype(np.float32),
        }
        nodes.append(helper.make_node("MatMul", [last, kernel], [product]))
        nodes.append(helper.make_node("Add", [product, bias], [added]))
        if outputs > 4:
            last = f"rectified{place}"
            nodes.append(helper.make_node("Relu", [added], [last]))
    constants |= {"classes": np.array([10, 20, 30, 40]), "flat": np.array([-1])}
    nodes += [
        helper.make_node("Softmax", [added], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["best"], axis=1),
        helper.make_node("ArrayFeatureExtractor", ["classes", "best"], ["found"], domain="ai.onnx.ml"),
        helper.make_node("Reshape", ["found", "flat"], ["label"]),
    ]
    return _of_rows(nodes, constants)


def _of_rows(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "rows",
        [value("rows", TensorProto.FLOAT, [None, 7])],
        [value("label", TensorProto.INT64, [None]), value("probabilities", TensorProto.FLOAT, [None, 4])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("ai.onnx.ml", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _row(random: Random, _: int) -> Sample:
    return {"rows": 2 * floats(random, 1, 7)}


def _features(random: Random, _: int) -> Sample:
    return {"categories": random.integers(0, 20, (1, 4)), "numbers": floats(random, 1, 6)}


def _series(random: Random, _: int) -> Sample:
    walk = floats(random, 1, 48).cumsum(1) * random.uniform(0.2, 2) + random.normal()
    return {"series": walk.astype(np.float32)}


_INTEGERS = "its first output is whole numbers"
NETWORKS = (
    Network("video", "Conv3d, time and space apart", Video, _clip, classes=1),
    Network(
        "volume",
        "Conv3d and its transpose",
        Volume,
        draws({"volume": (1, 1, 8, 12, 12)}),
        exporter="TorchScript",
        opset=13,
        classes=1,
    ),
    Network(
        "autoencoder",
        "Conv1d, ConvTranspose1d, its own error",
        Autoencoder,
        draws({"signal": (1, 4, 64)}),
        ("again", "error"),
        "TorchScript",
        13,
    ),
    Network(
        "recommender",
        "categories and numbers",
        Recommender,
        _features,
        exporter="dynamo",
    ),
    Network(
        "forecast", "pieces of a series, its own scale", Forecast, _series, exporter="dynamo, not optimised"
    ),
    Network(
        "linear_classifier",
        "skl2onnx's form, open batch",
        linear_classifier,
        _row,
        ("label", "probabilities"),
        exporter="onnx.helper",
        opset=13,
        no_int8=_INTEGERS,
    ),
    Network(
        "layered_classifier",
        "skl2onnx's form, open batch",
        layered_classifier,
        _row,
        ("label", "probabilities"),
        exporter="onnx.helper",
        opset=13,
        no_int8=_INTEGERS,
    ),
)
