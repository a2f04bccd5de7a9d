"""What a `.tflite` holds, as data."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from edgepress.datasets.prepared import Array
from edgepress.graph.weights import normalised

NODES = "edgepress.nodes"
"""The entry of metadata with the ONNX nodes of operators that make outputs: a JSON object by their places."""

MAKER = "edgepress"
"""The description of files of this project; only these name ONNX nodes."""


@dataclass(frozen=True)
class Kernel:
    """The constant weights of a convolution or fully connected operator.

    `values` are as stored: float16, float32 or integer codes; those of 4 bits are int8 here, and `dtype` says
    so. `scales` and `zero_points` have one element or, per channel, one along `channel_axis`; they are empty
    for floats. `biases` is the number of elements of the operator's bias. `execution` says in words what is
    done with them: "int8, executed in int8" or "int8, dequantised at run time".
    """

    name: str
    operator: str
    values: Array
    channel_axis: int
    scales: Array
    zero_points: Array
    biases: int
    dtype: str = ""
    execution: str = ""

    @property
    def prunable(self) -> bool:
        """Depthwise kernels are not, as in `edgepress.graph.weights`."""
        return self.operator != "DEPTHWISE_CONV_2D"

    @property
    def zeros(self) -> int:
        """The number of weights that are zero; of codes, those equal to their zero point."""
        shape = [1] * self.values.ndim
        if len(self.zero_points) > 1:
            shape[self.channel_axis] = len(self.zero_points)
        zero = self.zero_points.reshape(shape) if len(self.zero_points) else 0
        return int(np.count_nonzero(self.values == zero))

    @property
    def unique_weights(self) -> int:
        """The distinct codes or, of floats, distinct values: the fewer of those of the kernel as it is, and
        of the kernel with each output channel divided by its largest magnitude.
        """
        distinct = len(np.unique(self.values))
        if self.values.dtype.kind != "f":
            return distinct
        values = self.values.astype(np.float32)
        return min(distinct, len(np.unique(normalised(values, self.channel_axis))))


@dataclass(frozen=True)
class Tensor:
    """`data` is None for a tensor that is computed, or constant of a type that no kernel has.

    `signature` is the shape with −1 for the sizes that are open, [] where none is.
    """

    name: str
    dtype: str
    shape: list[int]
    constant: bool
    data: Array | None
    scales: Array
    zero_points: Array
    signature: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Operator:
    """What it reads and makes, as indices of tensors; −1 stands for an operand that is left out.

    `nodes` tells what it does the work of, joined by `;`: in files of this project, the ONNX nodes.
    """

    name: str
    inputs: list[int]
    outputs: list[int]
    nodes: str = ""


@dataclass(frozen=True)
class Graph:
    """A subgraph; `inputs` and `outputs` are indices of tensors."""

    tensors: list[Tensor]
    operators: list[Operator]
    inputs: list[int]
    outputs: list[int]


_FLEX = "Flex"
_IN_LITERT = ("TFLite_Detection_PostProcess", "NumericVerify", "Mfcc", "AudioSpectrogram")
"""Custom operators that LiteRT itself has kernels for (tensorflow/lite/core/kernels/register.cc)."""


@dataclass(frozen=True)
class TfliteModel:
    """A model's subgraphs and, over all of them, the operators in order, the names of the float tensors, and
    the kernels, each once.

    `metadata` are the file's entries by name, `maker` says who wrote it, and `customs` are the names of
    custom operators.
    """

    graphs: tuple[Graph, ...]
    operators: tuple[str, ...]
    float_tensors: tuple[str, ...]
    kernels: tuple[Kernel, ...]
    metadata: Mapping[str, bytes]
    maker: str
    customs: tuple[str, ...] = ()

    @property
    def op_counts(self) -> dict[str, int]:
        """How often each operator occurs, by name."""
        return dict(sorted(Counter(self.operators).items()))

    @property
    def weights(self) -> str:
        """What is done with the kernels' weights, in words; with shares where it is not the same for all."""
        sizes = Counter[str]()
        for kernel in self.kernels:
            sizes[kernel.execution] += kernel.values.size
        if len(sizes) < 2:
            return next(iter(sizes), "none")
        return "; ".join(f"{size / sizes.total():.1%} {what}" for what, size in sizes.most_common())

    @property
    def needs(self) -> tuple[str, ...]:
        """What a runtime must have besides TFLite's own operators, in words."""
        own = [name for name in dict.fromkeys(self.customs) if name not in _IN_LITERT]
        flex = sorted(name for name in own if name.startswith(_FLEX))
        others = sorted(name for name in own if not name.startswith(_FLEX))
        told = [f"needs the Flex delegate: {', '.join(flex)}"] if flex else []
        return (*told, *([f"needs custom operators: {', '.join(others)}"] if others else []))

    @property
    def transpose_ops(self) -> int:
        """The number of TRANSPOSE operators."""
        return self.operators.count("TRANSPOSE")
