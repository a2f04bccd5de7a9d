"""Pools that take means over windows, as convolutions."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from edgepress.graph.view import Array, attributes, set_initializer

_TAPS = 25


def averaging(
    model: onnx.ModelProto, node: onnx.NodeProto, taken: list[int], made: list[int]
) -> list[onnx.NodeProto]:
    """An AveragePool as a depthwise convolution, which both runtimes round alike, and LiteRT has faster.

    One with windows of more than 25 elements is kept where their number is odd: XNNPACK has no fast depthwise
    kernel of that size, and a mean of an odd number of codes is never half-way between two of its own.

    Where a window lies partly on padding that is not counted, or reaches beyond all padding (`ceil_mode`), a
    factor for each place makes up for it.

    Args:
        model: takes the constants.
        node: an AveragePool of images.
        taken: the sizes (N, C, H, W) of its operand.
        made: the sizes of its result.
    """
    given, result, make = attributes(node), node.output[0], onnx.helper.make_node
    axes = [_Axis.of(given, i, taken[2 + i], made[2 + i]) for i in (0, 1)]
    window, counted = given["kernel_shape"], bool(given.get("count_include_pad", 0))
    even = np.full((made[1], 1, *window), 1 / math.prod(window), np.float32)
    shape: dict[str, Any] = {
        "pads": [*(axis.before for axis in axes), *(axis.reached for axis in axes)],
        "strides": [axis.stride for axis in axes],
        "dilations": [axis.dilation for axis in axes],
        "group": made[1],
    }
    factor = math.prod(window) / np.outer(*(axis.elements(counted) for axis in axes)).astype(np.float32)
    undilated = all(axis.dilation == 1 or axis.length == 1 for axis in axes)
    if (factor == 1).all() and undilated and math.prod(window) > _TAPS and math.prod(window) % 2:
        return [node]
    operands = [node.input[0], f"{result}.window"]
    set_initializer(model, operands[1], even)
    if (factor == 1).all():
        return [make("Conv", operands, [result], node.name, **shape)]
    set_initializer(model, f"{result}.factor", factor[np.newaxis, np.newaxis])
    return [
        make("Conv", operands, [f"{result}.sum"], f"{node.name}.sum", **shape),
        make("Mul", [f"{result}.sum", f"{result}.factor"], [result], node.name),
    ]


def takes_all(node: onnx.NodeProto, taken: list[int], made: list[int]) -> bool:
    """Whether an AveragePool makes one mean of each whole channel, as a GlobalAveragePool does.

    `taken` and `made` are the sizes of its operand and its result; padding must not count.
    """
    given = attributes(node)
    rank = len(given["kernel_shape"])
    if len(taken) != rank + 2 or not all(taken[2:]) or made[2:] != [1] * rank:
        return False
    axes = [_Axis.of(given, i, taken[2 + i], 1) for i in range(rank)]
    counted = bool(given.get("count_include_pad", 0))
    return all(axis.elements(counted).tolist() == [axis.size] and axis.is_covered for axis in axes)


@dataclass(frozen=True)
class _Axis:
    """Windows along one axis: padding `before` and `after` as the node has it, `places` of them."""

    size: int
    places: int
    length: int
    stride: int
    dilation: int
    before: int
    after: int

    @classmethod
    def of(cls, given: dict[str, Any], i: int, size: int, places: int) -> "_Axis":
        length = given["kernel_shape"][i]
        stride, dilation = (given.get(name, [1] * 3)[i] for name in ("strides", "dilations"))
        rank = len(given["kernel_shape"])
        pads, auto = given.get("pads", [0] * 2 * rank), given.get("auto_pad", "NOTSET")
        before, after = (0, 0) if auto == "VALID" else (pads[i], pads[i + rank])
        if auto.startswith("SAME"):
            total = max((places - 1) * stride + (length - 1) * dilation + 1 - size, 0)
            smaller = total // 2
            before = smaller if auto == "SAME_UPPER" else total - smaller
            after = total - before
        return cls(size, places, length, stride, dilation, before, after)

    @property
    def is_covered(self) -> bool:
        """Whether the first window holds every element once."""
        return (self.dilation == 1 or self.size == 1) and self.length - self.before >= self.size

    @property
    def reached(self) -> int:
        """The padding behind the image that the last window needs."""
        end = (self.places - 1) * self.stride + (self.length - 1) * self.dilation + 1
        return max(end - self.size - self.before, 0)

    def elements(self, counted: bool) -> Array:
        """How many elements each window (places,) takes the mean of, padding among them where it counts."""
        places = np.arange(self.places)[:, np.newaxis] * self.stride - self.before
        places = places + np.arange(self.length) * self.dilation
        first, end = (-self.before, self.size + self.after) if counted else (0, self.size)
        return np.asarray(((places >= first) & (places < end)).sum(axis=1))
