"""How far the operators behind a tensor tell its elements apart; masks lie far beyond that.

A mask adds −10⁴, −3·10³⁸ or −∞ to what a Softmax must not see, or puts it there. One range for both would
leave the rest no codes. But a Softmax in 8 bits makes 0 of whatever lies 10 below the largest score, so a
range may end there, and codes saturate. How far elements matter is followed backwards, from the operators
that saturate to the constants and sums that masks are made of.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from edgepress.compress.quantisation.activations import Activations, Range, constant_ranges
from edgepress.compress.quantisation.score_rows import GAIN, STEPS, least_maxima
from edgepress.graph.view import attributes, copy, initializers, remove_unused_initializers, set_initializer

EVERYWHERE: Range = (-np.inf, np.inf)
"""The limits of a tensor all of whose elements matter."""

_NOWHERE: Range = (np.inf, -np.inf)
_FIXED: dict[str, Range] = {
    "Sigmoid": (-math.log(STEPS - 1), math.log(STEPS - 1)),
    "Tanh": (-math.atanh(1 - 2 / STEPS), math.atanh(1 - 2 / STEPS)),
}
"""Where the int8 kernels, whose steps are 1/256 and 1/128, give what they give for ±∞."""

_TAILS: dict[str, Range] = {
    "Erf": (-4.0, 4.0),
    "Elu": (-10.0, np.inf),
    "Selu": (-10.0, np.inf),
    "Softplus": (-10.0, np.inf),
    "Gelu": (-6.0, np.inf),
    "Mish": (-12.0, np.inf),
    "HardSwish": (-3.0, np.inf),
    "Relu": (0.0, np.inf),
}
"""Where a curve comes within 10⁻⁴ of its end."""

_PASSING = (
    "Identity", "Dropout", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split",
    "Gather", "Expand", "Tile", "DepthToSpace", "SpaceToDepth", "Concat", "Max", "Min", "Pad", "Where",
)  # fmt: skip
"""What they make are elements of their operands: the larger, the larger these are."""

_MAXIMA = ("ReduceMax", "MaxPool", "GlobalMaxPool", "ArgMax")


@dataclass(frozen=True)
class Saturation:
    """`model` computes what it did as far as 8 bits can tell; what may not be cut still has its `ranges`.

    `cut` names the tensors whose range ends before their smallest or largest elements.
    """

    model: onnx.ModelProto
    ranges: dict[str, Range]
    cut: frozenset[str]


def saturated(
    model: onnx.ModelProto, ranges: Mapping[str, Range], activations: Activations, floats: Collection[str]
) -> Saturation:
    """Cut the ranges of tensors, and constants themselves, where all that read them saturate.

    Args:
        model: float32.
        ranges: the extremes of its tensors, by name; they may be infinite.
        activations: of the same model.
        floats: the names of nodes that get no quantisation; what they read stays as it is.
    """
    limits = _Limits(model, ranges, least_maxima(model, ranges, activations), floats)
    found = {name: _cut(bounds, limits.of_tensors[name]) for name, bounds in ranges.items()}
    cut = frozenset(name for name, bounds in found.items() if bounds != ranges[name])
    return Saturation(_with_constants_cut(model, limits.of_operands), found, cut)


def _cut(bounds: Range, limits: Range) -> Range:
    """The bounds, or the limits in their place where that is worth it."""
    if limits[0] > limits[1]:
        return bounds
    low, high = (min(max(end, limits[0]), limits[1]) for end in bounds)
    wide, narrow = (max(ends[1], 0.0) - min(ends[0], 0.0) for ends in (bounds, (low, high)))
    return (low, high) if np.isfinite(narrow) and wide >= GAIN * narrow else bounds


def _with_constants_cut(model: onnx.ModelProto, limits: Mapping[tuple[str, int], Range]) -> onnx.ModelProto:
    changed, constants = copy(model), initializers(model)
    for node in changed.graph.node:
        for place, name in enumerate(node.input):
            values = constants.get(name)
            if values is None or values.dtype != np.float32 or not values.size:
                continue
            bounds = float(values.min()), float(values.max())
            if (within := _cut(bounds, limits[node.output[0], place])) != bounds:
                node.input[place] = f"{node.output[0]}.saturated.{place}"
                set_initializer(
                    changed, node.input[place], np.clip(values, np.float32(within[0]), np.float32(within[1]))
                )
    remove_unused_initializers(changed)
    return changed


class _Limits:
    """Between which ends the elements of each tensor, and of each operand of a node, matter to readers."""

    def __init__(
        self,
        model: onnx.ModelProto,
        ranges: Mapping[str, Range],
        least_maxima: Mapping[str, float],
        floats: Collection[str],
    ) -> None:
        self._ranges, self._constants = {**constant_ranges(model), **ranges}, initializers(model)
        self._least_maxima, self._floats = least_maxima, floats
        read = (name for node in model.graph.node for name in node.input)
        self.of_tensors = dict.fromkeys((*ranges, *read), _NOWHERE)
        self.of_tensors |= {output.name: EVERYWHERE for output in model.graph.output}
        self.of_operands: dict[tuple[str, int], Range] = {}
        for node in reversed(model.graph.node):
            wanted = _NOWHERE
            for name in node.output:
                wanted = _union(wanted, self.of_tensors.get(name, _NOWHERE))
            for place, name in enumerate(node.input):
                limits = self._of(node, place, wanted)
                self.of_operands[node.output[0], place] = EVERYWHERE if node.name in floats else limits
                self.of_tensors[name] = _union(self.of_tensors[name], limits)

    def _of(self, node: onnx.NodeProto, place: int, wanted: Range) -> Range:
        """Where elements of the operand matter if those of the result do in `wanted`."""
        if node.op_type in _TAILS:
            return _TAILS[node.op_type]
        if node.op_type in (*_FIXED, "Softmax"):
            return EVERYWHERE if node.name in self._floats else self._of_fixed(node)
        result = self._ranges.get(node.output[0], EVERYWHERE)
        if node.op_type in _MAXIMA:
            return max(self._least_maxima.get(node.output[0], result[0]), wanted[0]), wanted[1]
        if node.op_type == "ReduceMin":
            return wanted[0], min(result[1], wanted[1])
        if node.op_type in _RULES:
            return _RULES[node.op_type](self._operation(node, place, wanted, result))
        if node.op_type == "Conv" and place == 0:
            return self._of_line(node, wanted)
        return wanted if node.op_type in _PASSING else EVERYWHERE

    def _operation(self, node: onnx.NodeProto, place: int, wanted: Range, result: Range) -> "_Operation":
        ranges = [self._ranges.get(name, EVERYWHERE) for name in node.input]
        return _Operation(ranges, [name in self._constants for name in node.input], place, wanted, result)

    def _of_line(self, node: onnx.NodeProto, wanted: Range) -> Range:
        """Of a factor and a summand for each channel, as `prepared` writes them."""
        kernel = self._constants.get(node.input[1])
        if kernel is None or kernel[0].size != 1 or attributes(node).get("group", 1) != len(kernel):
            return EVERYWHERE
        slopes = kernel.reshape(-1)
        shifts = self._constants[node.input[2]] if len(node.input) > 2 else np.zeros_like(slopes)
        if not slopes.all():
            return EVERYWHERE
        ends = np.array([(end - shifts) / slopes for end in wanted])
        return float(ends.min()), float(ends.max())

    def _of_fixed(self, node: onnx.NodeProto) -> Range:
        if node.op_type == "Softmax":
            return self._least_maxima.get(node.output[0], -np.inf), np.inf
        return _FIXED[node.op_type]


def _union(one: Range, other: Range) -> Range:
    return min(one[0], other[0]), max(one[1], other[1])


@dataclass(frozen=True)
class _Operation:
    """A node: its operands' ranges, which are constants, which one is asked about, its result's range."""

    ranges: list[Range]
    constant: list[bool]
    place: int
    wanted: Range
    result: Range

    @property
    def own(self) -> Range:
        return self.ranges[self.place]

    @property
    def other(self) -> Range:
        return self.ranges[1 - self.place]


def _of_sum(op: _Operation) -> Range:
    """An operand below `wanted` by the largest of the other leaves the sum below it."""
    return _finite(op.wanted[0] - op.other[1], -np.inf), _finite(op.wanted[1] - op.other[0], np.inf)


def _of_difference(op: _Operation) -> Range:
    if op.place == 0:
        return _finite(op.wanted[0] + op.other[0], -np.inf), _finite(op.wanted[1] + op.other[1], np.inf)
    return _finite(op.other[0] - op.wanted[1], -np.inf), _finite(op.other[1] - op.wanted[0], np.inf)


def _finite(end: float, instead: float) -> float:
    return end if np.isfinite(end) else instead


def _of_product(op: _Operation) -> Range:
    """Of a constant and what is computed, the larger one is cut.

    What is computed, to what the constant then makes of it; the constant, to what makes the most of a single
    step of the other's codes.
    """
    if op.constant[0] == op.constant[1] or _size(op.own) < _size(op.other):
        return EVERYWHERE
    if not op.constant[op.place]:
        return _divided(op.wanted, op.other)
    largest = max(abs(_finite(end, own)) for end, own in zip(op.wanted, op.result, strict=True))
    step = (max(op.other[1], 0.0) - min(op.other[0], 0.0)) / 255
    end = largest / step if 0 < step < np.inf else np.inf
    return -end, end


def _size(bounds: Range) -> float:
    return max(abs(bounds[0]), abs(bounds[1]))


def _divided(wanted: Range, divisor: Range) -> Range:
    least, most = divisor
    if least <= 0 <= most:
        return EVERYWHERE
    if most < 0:
        return _divided((-wanted[1], -wanted[0]), (-most, -least))
    low, high = wanted
    return low / (least if low < 0 else most), high / (least if high > 0 else most)


def _of_quotient(op: _Operation) -> Range:
    """A constant divisor is a factor."""
    low, high = op.ranges[1]
    if op.place == 1 or not op.constant[1] or low <= 0 <= high:
        return EVERYWHERE
    return _divided(op.wanted, (1 / high, 1 / low))


def _of_negation(op: _Operation) -> Range:
    return -op.wanted[1], -op.wanted[0]


def _of_exponential(op: _Operation) -> Range:
    """Down to half a step of the result."""
    least = op.result[1] / STEPS
    return math.log(least) if 0 < least < np.inf else -np.inf, np.inf


def _of_clip(op: _Operation) -> Range:
    """Between its bounds at most."""
    if op.place:
        return op.wanted
    bounds = [*op.ranges[1:], *[EVERYWHERE] * (3 - len(op.ranges))]
    low, high = max(op.wanted[0], bounds[0][0]), min(op.wanted[1], bounds[1][1])
    return (low, high) if low <= high else op.wanted


_RULES: dict[str, Callable[[_Operation], Range]] = {
    "Add": _of_sum,
    "Sub": _of_difference,
    "Mul": _of_product,
    "Div": _of_quotient,
    "Neg": _of_negation,
    "Exp": _of_exponential,
    "Clip": _of_clip,
}
