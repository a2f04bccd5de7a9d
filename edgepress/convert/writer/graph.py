"""A TFLite network in memory: tensors, and the operators that read and make them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Codes:
    """How integers stand for numbers: number = (code − zero point)·scale.

    `scale` (float32) and `zero_points` have one element, or one for each element of `axis`.
    """

    scale: Array
    zero_points: Array
    axis: int = 0
    dtype: str = "int8"

    @property
    def one(self) -> bool:
        """Whether all of a tensor has one scale."""
        return self.scale.size == 1

    @property
    def zero_point(self) -> int:
        """The one zero point of all elements."""
        return int(self.zero_points.flat[0])

    @property
    def symmetric(self) -> bool:
        """Whether code 0 stands for 0 everywhere."""
        return not self.zero_points.any()

    def key(self) -> tuple[Any, ...]:
        """What is equal of equal codes."""
        return (self.dtype, self.axis, self.scale.tobytes(), self.zero_points.tobytes())

    def same(self, other: "Codes | None") -> bool:
        return other is not None and self.key() == other.key()

    def of(self, values: Array, low: int | None = None) -> Array:
        """The codes of numbers: rounded half away from zero, and saturated; those of int4 as int8."""
        lowest, highest = (-8, 7) if self.dtype == "int4" else _limits(self.dtype)
        shape = [1] * values.ndim
        if not self.one:
            shape[self.axis] = -1
        quotients = values / self.scale.reshape(shape).astype(np.float32)
        rounded = np.trunc(quotients + np.copysign(np.float32(0.5), quotients))
        codes = rounded + self.zero_points.reshape(shape)
        kept: Array = np.clip(codes, lowest if low is None else low, highest)
        return kept.astype("int8" if self.dtype == "int4" else self.dtype)


def _limits(dtype: str) -> tuple[int, int]:
    limits = np.iinfo(dtype)
    return limits.min, limits.max


def codes_of_one(scale: float, zero_point: int, dtype: str = "int8") -> Codes:
    """One scale and zero point for all of a tensor."""
    return Codes(np.array([scale], np.float32), np.array([zero_point], np.int64), 0, dtype)


@dataclass(eq=False)
class Tensor:
    """`values` are those of a constant, as stored: numbers, or codes; also a view of an array elsewhere.

    `dtype` is the name of the stored type: numpy's, or int4, whose `values` are int8 here. `signature` is the
    shape with −1 for sizes that are open, where there are such. `ragged` ones have a size that only what they
    are computed of tells, and 1 in its place.
    """

    name: str
    shape: Shape
    dtype: str = "float32"
    codes: Codes | None = None
    values: Array | None = None
    signature: Shape | None = None
    ragged: bool = False

    @property
    def constant(self) -> bool:
        return self.values is not None

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(eq=False)
class Operator:
    """`kind` is the schema's name of it, e.g. CONV_2D; None stands for an operand that is left out.
    A custom one has a name of its own, `custom`, and `content`, which only its kernel reads.

    `options` are fields of the operator's options by the schema's names, and `nodes` are the ONNX nodes whose
    work it does; `note` says more of why it is there. `graphs` are networks within it, by the field of the
    options that has each one's number.
    """

    kind: str
    inputs: list[Tensor | None]
    outputs: list[Tensor]
    options: dict[str, Any] = field(default_factory=dict)
    nodes: list[str] = field(default_factory=list)
    note: str = ""
    graphs: dict[str, "Graph"] = field(default_factory=dict)
    custom: str = ""
    content: bytes = b""


@dataclass
class Graph:
    """A whole network; `input_names` and `output_names` are those of its signature, in order.

    One within an operator has no names of outputs.
    """

    inputs: list[Tensor]
    outputs: list[Tensor]
    operators: list[Operator]
    input_names: list[str]
    output_names: list[str]

    def tensors(self) -> list[Tensor]:
        """All tensors, each once: inputs, then in the order of the operators."""
        seen: dict[int, Tensor] = {id(tensor): tensor for tensor in self.inputs}
        for operator in self.operators:
            for tensor in (*operator.inputs, *operator.outputs):
                if tensor is not None:
                    seen.setdefault(id(tensor), tensor)
        for tensor in self.outputs:
            seen.setdefault(id(tensor), tensor)
        return list(seen.values())

    def whole(self) -> list["Graph"]:
        """This network and all within its operators, each before those within itself."""
        found, number = [self], 0
        while number < len(found):
            found += [graph for operator in found[number].operators for graph in operator.graphs.values()]
            number += 1
        return found

    def readers(self) -> Mapping[int, list[Operator]]:
        """The operators that read each tensor, by the tensor's id."""
        return readers_of(self.operators)


def readers_of(operators: Iterable[Operator]) -> dict[int, list[Operator]]:
    """The operators that read each tensor, by the tensor's id."""
    found: dict[int, list[Operator]] = {}
    for operator in operators:
        for tensor in operator.inputs:
            if tensor is not None:
                found.setdefault(id(tensor), []).append(operator)
    return found
