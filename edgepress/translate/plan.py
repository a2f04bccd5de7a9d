"""The plan: an ONNX network rewritten, layout by layout decided, as steps that TensorFlow can take.

A plan is plain data. Both faces of the translator, Keras layers and a function, read the same plan, so
the layout is solved once. All attributes and weights of a step are in TensorFlow's conventions (NHWC
activations, HWIO kernels).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Quantisation:
    """The codes of a constant, of TFLite's type `dtype`: number = (code − zero point)·scale.

    `scale` and `zero_points` have one element, or one for each output channel of a kernel. `dtype` is numpy's
    name, or int4. Codes of up to 16 bits follow from the numbers; those of int32, which float32 does not
    hold, are in `codes`, shaped alike.
    """

    scale: Array
    zero_points: Array
    dtype: str = "int8"
    codes: Array | None = None


@dataclass(frozen=True)
class Weight:
    """A constant of a step, in TensorFlow's layout, and the way back to its ONNX initializer.

    `shape`, `permutation` and `rows` say how `values` came from the initializer: first transposed by
    `permutation`, then its rows (first axis) taken in the order `rows`, then reshaped.
    """

    values: Array
    initializer: str | None = None
    permutation: tuple[int, ...] | None = None
    rows: Array | None = None
    onnx_shape: tuple[int, ...] = ()
    quantisation: Quantisation | None = None

    def to_onnx(self, values: Array) -> Array:
        """Values in TensorFlow's layout, put back into the initializer's layout."""
        permutation = self.permutation or tuple(range(len(self.onnx_shape)))
        transposed = values.reshape([self.onnx_shape[axis] for axis in permutation])
        if self.rows is not None:
            original = np.empty_like(transposed)
            original[self.rows] = transposed
            transposed = original
        return np.ascontiguousarray(np.transpose(transposed, np.argsort(permutation)))


@dataclass(frozen=True)
class Step:
    """One operation: `inputs`, `output` and `others` name tensors; `node` is the ONNX node it stems from.

    `others` are further results, of an operation that gives several.
    """

    op: str
    inputs: tuple[str, ...]
    output: str
    node: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Weight] = field(default_factory=dict)
    others: tuple[str, ...] = ()

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of all results."""
        return (self.output, *self.others)


@dataclass(frozen=True)
class Entry:
    """A network's input: its stored `shape` with None for an open batch, and how its axes are ordered.

    Stored axis i holds ONNX axis `order[i]`; `dtype` is numpy's name of the element type.
    """

    name: str
    shape: tuple[int | None, ...]
    order: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class Plan:
    """The whole network; `output_orders` say how the axes of each output are stored, as in `Entry`.

    `outputs` are the tensors that are given; `output_names` what the network calls them, if that differs.
    """

    entries: tuple[Entry, ...]
    outputs: tuple[str, ...]
    output_orders: tuple[tuple[int, ...], ...]
    steps: tuple[Step, ...]
    output_names: tuple[str, ...] = ()

    @property
    def input(self) -> str:
        """The name of the one input."""
        return self._entry.name

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The one input's shape without the batch and in stored order, e.g. (H, W, C)."""
        return tuple(int(size or 1) for size in self._entry.shape[1:])

    @property
    def output(self) -> str:
        """The name of the one output."""
        (output,) = self.outputs
        return output

    @property
    def _entry(self) -> Entry:
        (entry,) = self.entries
        return entry
