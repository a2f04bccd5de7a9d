"""Scales under which sums, means, products and curves round alike in every runtime.

A sum of codes a and b is round(a·s_a/s_c + b·s_b/s_c) in units of its own scale s_c. Runtimes compute the
quotients with 20 to 24 bits, so where the sum comes close to a half, they differ by one, and the difference
grows through the layers after it. Here the quotients get one odd denominator: then no sum is nearer to a half
than half of its reciprocal, which is more than any runtime errs by.
"""

import math
from collections.abc import Callable, Collection

import numpy as np
import onnx
from scipy.special import ndtr

from edgepress.compress.quantisation.scales import scale_and_zero_point
from edgepress.compress.quantisation.sharing import Ranges, constant_ranges, scale_groups
from edgepress.datasets.prepared import Array
from edgepress.graph.shapes import inferred_infos
from edgepress.graph.view import attributes, consumers, initializers

_SUMS, _MEANS = ("Add", "Sub"), ("ReduceMean", "GlobalAveragePool")

_SUM_DENOMINATOR = 1023
"""XNNPACK multiplies with 21 bits, so a sum of two codes errs by 255·2⁻²⁰ at most: 0.0003."""

_MEAN_DENOMINATOR = 16383
"""Means are computed in float32 or with 31 bits."""

_PRODUCT_DENOMINATOR = 16383
"""Products are exact, and multiplied in float32: up to 128 with 2⁻¹⁷ of error."""

_REQUANTISING_DENOMINATOR = 256
"""XNNPACK multiplies codes by 8 bits of fraction to give them another scale."""

_ASIDE = 4e-6
"""Of a quotient: 255 codes times this are less than half of 1/256, and more than float32 errs by."""

_LEVELS = 255

_CURVES: dict[str, Callable[[Array], Array]] = {
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Tanh": np.tanh,
    "Gelu": lambda x: x * ndtr(x),
}
_CLEARANCE = 1e-3
"""Of a step: how far a curve's values stay from a half; runtimes compute them with 1e-7 of error or so."""

_FINE, _ATTEMPTS = 1000, 30

_SLACK = 0.01
"""Of a numerator, so that what is aligned stays as it is."""


def aligned_ranges(
    model: onnx.ModelProto, ranges: Ranges, fixed: Collection[str]
) -> dict[str, tuple[float, float]]:
    """The ranges, one for each group of `scale_groups`, widened by a few thousandths where that aligns.

    What Clip makes, and tensors whose range is `fixed`, keep theirs.
    """
    scales = _Scales(model, {**constant_ranges(model, (*_SUMS, "Mul")), **ranges}, fixed)
    results, infos = _results(model), inferred_infos(model)
    # From the end: a tensor is the operand of one sum at most, as a rule, so it is free to follow its result.
    for node in reversed(model.graph.node):
        result = results.get(node.output[0], node.output[0])
        if node.op_type in _SUMS:
            scales.align(list(node.input), result, _SUM_DENOMINATOR)
        elif node.op_type in _MEANS and (count := _count(model, node, _sizes(infos, node.input[0]))):
            scales.align([node.input[0]], result, _MEAN_DENOMINATOR, 1 / count)
        elif node.op_type == "Identity":
            scales.align_codes(node.input[0], result)
    for node in reversed(model.graph.node):
        if node.op_type == "Mul":
            left, right = node.input
            scales.align_product(left, right, results.get(node.output[0], node.output[0]))
    scales.align_curves()
    return scales.ranges


class _Scales:
    """Ranges whose widths may still be chosen, until an operator depends on them."""

    def __init__(self, model: onnx.ModelProto, ranges: Ranges, fixed: Collection[str]) -> None:
        self.ranges = dict(ranges)
        self._groups = scale_groups(model, ranges, fixed)
        clipped = (name for node in model.graph.node if node.op_type == "Clip" for name in node.output)
        self._settled = {name for start in (*fixed, *clipped) for name in self._groups.get(start, ())}
        nodes = [node for node in model.graph.node if node.op_type in _CURVES]
        self._curves = [(node.input[0], node.output[0], _CURVES[node.op_type]) for node in nodes]

    def align(self, operands: list[str], result: str, denominator: int, share: float = 1.0) -> None:
        """Make share·(scale of operand)/(scale of result) a fraction with this denominator, for each."""
        if not self._all_known(*operands, result):
            return
        settled = [name for name in operands if name in self._settled]
        if settled and result not in self._settled:
            width = share * self._width(settled[0]) * denominator
            self._widen(result, width / max(math.floor(width / self._width(result) + _SLACK), 1))
        for name in operands:
            if name not in self._settled:
                self._fit(name, self._width(result) / denominator / share)
        self._settle(*operands, result)

    def align_codes(self, operand: str, result: str) -> None:
        """Make (scale of operand)/(scale of result) a multiple of 1/256, but for the last bits.

        An odd one leaves a single code, 128 from the zero point, halfway between two of the result: XNNPACK
        rounds it up, and so does everyone else if the quotient lies a little on that side.
        """
        if self._all_known(operand, result):
            up = 1 if scale_and_zero_point(*self.ranges[operand])[1] < 0 else -1
            self.align([operand], result, _REQUANTISING_DENOMINATOR, 1 - up * _ASIDE)

    def align_product(self, left: str, right: str, result: str) -> None:
        """Make (scale of left)·(scale of right)/(scale of result) a fraction with _PRODUCT_DENOMINATOR."""
        if not self._all_known(left, right, result):
            return
        largest = self._width(left) * self._width(right) / _LEVELS * _PRODUCT_DENOMINATOR
        free = [name for name in (left, right) if name not in self._settled]
        if result not in self._settled:
            self._widen(result, largest / max(math.floor(largest / self._width(result) + _SLACK), 1))
        elif free and left != right:
            self._fit(free[0], self._width(free[0]) * self._width(result) / largest)
        self._settle(left, right, result)

    def align_curves(self) -> None:
        """Keep what a curve makes of each code of its operand away from halves of its result's steps."""
        for operand, result, _ in self._curves:
            if self._all_known(operand, result) and operand not in self._settled:
                self._fit(operand, self._width(operand) / _FINE)
                self._settle(operand)

    def _all_known(self, *names: str) -> bool:
        return all(name in self.ranges and self._width(name) > 0 for name in names)

    def _settle(self, *names: str) -> None:
        for name in names:
            self._settled |= self._groups[name]

    def _fit(self, name: str, unit: float) -> None:
        """Widen to a multiple of the unit: the first at which no curve comes near a half, if one is near."""
        first = math.ceil(self._width(name) / unit - _SLACK)
        for count in range(first, first + _ATTEMPTS):
            self._widen(name, unit * count)
            if self._is_clear(name):
                return
        self._widen(name, unit * first)

    def _is_clear(self, name: str) -> bool:
        return all(
            _clearance(self.ranges[operand], self.ranges[result], curve) >= _CLEARANCE
            for operand, result, curve in self._curves
            if operand in self._groups[name] and self._all_known(operand, result)
        )

    def _width(self, name: str) -> float:
        low, high = self.ranges[name]
        return max(high, 0.0) - min(low, 0.0)

    def _widen(self, name: str, width: float) -> None:
        low, high = self.ranges[name]
        factor = width / self._width(name)
        bounds = min(low, 0.0) * factor, max(high, 0.0) * factor
        self.ranges |= dict.fromkeys(self._groups[name], bounds)


def _clearance(
    operand: tuple[float, float], result: tuple[float, float], curve: Callable[[Array], Array]
) -> float:
    """How near to a half, in steps of the result, the curve's values of all codes come."""
    (scale, zero), (step, _) = scale_and_zero_point(*operand), scale_and_zero_point(*result)
    values = curve((np.arange(-128, 128) - float(zero)) * float(scale)) / float(step)
    return float(np.abs(values - np.floor(values) - 0.5).min())


def _results(model: onnx.ModelProto) -> dict[str, str]:
    """For each tensor that a Relu or Clip alone reads, what that makes: onnxruntime quantises only this."""
    readers, outputs = consumers(model), {output.name for output in model.graph.output}
    return {
        name: nodes[0].output[0]
        for name, nodes in readers.items()
        if len(nodes) == 1 and nodes[0].op_type in ("Relu", "Clip") and name not in outputs
    }


def _count(model: onnx.ModelProto, node: onnx.NodeProto, sizes: list[int]) -> int:
    """How many elements of a tensor of these sizes the node takes the mean of, 0 where that is open."""
    axes = list(range(2, len(sizes)))
    if node.op_type == "ReduceMean":
        constant = initializers(model)[node.input[1]].tolist() if len(node.input) > 1 else None
        axes = attributes(node).get("axes", constant) or list(range(len(sizes)))
    return math.prod(sizes[axis] for axis in axes) if sizes else 0


def _sizes(infos: dict[str, onnx.ValueInfoProto], name: str) -> list[int]:
    """0 where open; no size at all where unknown."""
    return [dim.dim_value for dim in infos[name].type.tensor_type.shape.dim] if name in infos else []
