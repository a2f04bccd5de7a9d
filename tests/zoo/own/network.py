"""A small network of our own, as `make zoo` measures it: what it is, its inputs, and how it is exported."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import onnx
from torch import nn

from tests.zoo.photos import crop

Sample = dict[str, np.ndarray]
"""What a network takes at once, by the names of its inputs and in their order, with a batch of 1."""

Random = np.random.Generator
Exporter = Literal["dynamo", "dynamo, not optimised", "TorchScript", "TorchScript of a script", "onnx.helper"]


@dataclass(frozen=True)
class Network:
    """A network of a few layers, in the form in which its field writes such networks.

    Attributes:
        name: unique among the rows of the zoo.
        about: what is special about it, for the table.
        make: the network in PyTorch with random weights, or at once as ONNX, which no exporter touches.
        draw: one sample, of a size among `sizes` where the inputs leave some open.
        outputs: their names.
        exporter: which of PyTorch's exporters writes it, or that it is put together by hand.
        opset: of ONNX's operators.
        sizes: what `draw` gets, in turns; the first is that of the example for the exporter.
        open_axes: the name of each size that stays open, by input and axis.
        classes: the axis of classes of the first output, None where it has none.
        no_int8: why it is not measured in int8, '' where it is.
        int8_limit: why its int8 form does not keep all bounds, '' where it does.
        no_oracle: why the int8 form is not compared with that of TensorFlow's converter, '' where it is.
    """

    name: str
    about: str
    make: Callable[[], nn.Module | onnx.ModelProto]
    draw: Callable[[Random, int], Sample]
    outputs: tuple[str, ...] = ("output",)
    exporter: Exporter = "dynamo"
    opset: int = 18
    sizes: tuple[int, ...] = (64,)
    open_axes: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    classes: int | None = None
    no_int8: str = ""
    int8_limit: str = ""
    no_oracle: str = ""

    def samples(self, count: int, seed: int) -> list[Sample]:
        """Samples of all sizes in turns; the same for the same seed."""
        random = np.random.default_rng(seed)
        return [self.draw(random, self.sizes[number % len(self.sizes)]) for number in range(count)]


@dataclass(frozen=True)
class Section:
    """The networks of one task."""

    title: str
    networks: tuple[Network, ...]


def image(random: Random, size: int) -> Sample:
    """A square crop of a photograph (1, 3, size, size), scaled as ImageNet's usually are."""
    return {"image": crop(random, size)}


def floats(random: Random, *shape: int) -> np.ndarray:
    """Normal random numbers in float32."""
    return random.normal(size=shape).astype(np.float32)


def tokens(random: Random, length: int, vocabulary: int) -> np.ndarray:
    """Random numbers of tokens (1, length) in int64."""
    return random.integers(0, vocabulary, (1, length))


def sound(random: Random, samples: int) -> np.ndarray:
    """A few sine waves that begin and end, and noise, (1, samples) in float32 within [−1, 1]."""
    time = np.arange(samples) / samples
    wave = 0.02 * random.normal(size=samples)
    for _ in range(5):
        centre, width, pitch = random.uniform(0, 1), random.uniform(0.05, 0.3), random.uniform(5, samples / 8)
        loudness = random.uniform(0.05, 0.18) * np.exp(-(((time - centre) / width) ** 2))
        wave += loudness * np.sin(2 * np.pi * pitch * time + random.uniform(0, 6))
    return wave[None].astype(np.float32)


def draws(shapes: Mapping[str, tuple[int, ...]]) -> Callable[[Random, int], Sample]:
    """For `Network.draw`: inputs of normal random numbers of fixed shapes."""
    return lambda random, _: {name: floats(random, *shape) for name, shape in shapes.items()}


def modules(*made: Any) -> nn.ModuleList:
    """A list of modules that are applied by turns."""
    return nn.ModuleList(made)
