"""The range of each activation, from calibration inputs, and what it takes for a range to be found."""

from dataclasses import dataclass

import numpy as np
import onnx

from edgepress.compress.quantisation.activations import Activations, Range, constant_ranges, extremes
from edgepress.compress.quantisation.floats import unquantised_nodes
from edgepress.compress.quantisation.histograms import narrowed
from edgepress.compress.quantisation.qdq import tensors_of_fixed_range
from edgepress.compress.quantisation.saturation import saturated
from edgepress.compress.quantisation.separated import WORD, faint, nodes_around, separated, tensors_of
from edgepress.compress.quantisation.words import tensors_of_unit_range, unquantised_words
from edgepress.config.quant import Calibration
from edgepress.datasets.samples import Inputs
from edgepress.errors import UnsupportedModelError, setting
from edgepress.graph.view import initializers
from edgepress.graph.weights import KERNEL_OPS

_TOLD = 4
"""Names in a line."""


@dataclass(frozen=True)
class Calibrated:
    """A model whose constants fit the ranges of its activations.

    `settled` names the tensors whose ranges are not to move in training: an operator prescribes them, or they
    are cut where the operators behind them saturate. `apart` names the tensors that no range suits, `floats`
    the nodes that stay in floats on their account.
    """

    model: onnx.ModelProto
    ranges: dict[str, Range]
    settled: frozenset[str]
    apart: tuple[str, ...]
    floats: tuple[str, ...]

    def told(self, bits: int = 8) -> str:
        """What stays in floats, and why, in a line."""
        tensors, nodes = (", ".join(names[:_TOLD]) + " …" * (len(names) > _TOLD)
                          for names in (self.apart, self.floats))  # fmt: skip
        return (
            f"{nodes} stay in floats: {tensors} lie in places too far apart for {bits} bits, too far from 0, "
            "or in few of the codes that LiteRT prescribes"
        )


def calibrate(model: onnx.ModelProto, config: Calibration, inputs: Inputs) -> Calibrated:
    """Find the range of each activation over raw inputs.

    Args:
        model: float32, from `prepared`.
        config: which elements a range has to hold.
        inputs: by name, or those of the only one (n, ...).

    Raises:
        UnsupportedModelError: a constant holds NaN, a weight infinity, or an activation becomes NaN.
    """
    _check_constants(model)
    activations, floats = Activations(model, inputs), unquantised_nodes(model)
    cut = saturated(model, _extremes(model, activations), activations, floats)
    fixed = tensors_of_fixed_range(model)
    apart = separated(cut.model, cut.ranges, activations, floats) + faint(model, cut.ranges, fixed)
    around = nodes_around(model, apart)
    quantised = tensors_of(model, {node.name for node in model.graph.node}.difference(floats, around))
    ranges = {name: fixed.get(name, bounds) for name, bounds in cut.ranges.items() if name in quantised}
    settled = cut.cut.union(fixed)
    if config.method != "minmax":
        ranges = narrowed(activations, ranges, sorted(ranges.keys() - settled), config)
    return Calibrated(cut.model, ranges, settled, tuple(apart), tuple(around))


def calibrate_words(model: onnx.ModelProto, config: Calibration, inputs: Inputs) -> Calibrated:
    """As `calibrate`, for codes of 16 bits: what saturates in 8 does not in these, so no range is cut."""
    _check_constants(model)
    activations, floats = Activations(model, inputs), unquantised_words(model)
    found, fixed = _extremes(model, activations), tensors_of_unit_range(model)
    apart = separated(model, found, activations, floats, WORD)
    around = nodes_around(model, apart)
    quantised = tensors_of(model, {node.name for node in model.graph.node}.difference(floats, around))
    ranges = {name: fixed.get(name, bounds) for name, bounds in found.items() if name in quantised}
    if config.method != "minmax":
        ranges = narrowed(activations, ranges, sorted(ranges.keys() - fixed.keys()), config)
    return Calibrated(model, ranges, frozenset(fixed), tuple(apart), tuple(around))


def _extremes(model: onnx.ModelProto, activations: Activations) -> dict[str, Range]:
    """The extremes of each tensor; a mask of infinity may hide some of it, though none of the inputs does."""
    ranges, constants = extremes(activations), constant_ranges(model)
    for node in model.graph.node:
        for name in node.input[1:] if node.op_type == "Where" and node.output[0] in ranges else ():
            low, high = constants.get(name, (0.0, 0.0))
            if np.isinf((low, high)).any():
                own = ranges[node.output[0]]
                ranges[node.output[0]] = min(own[0], low), max(own[1], high)
    return ranges


def _check_constants(model: onnx.ModelProto) -> None:
    """Refuse constants that no integers can stand for."""
    weights = {name for node in model.graph.node if node.op_type in KERNEL_OPS for name in node.input[1:]}
    for name, values in initializers(model).items():
        if values.dtype.kind != "f" or np.isfinite(values).all():
            continue
        what = "NaN" if np.isnan(values).any() else "infinity"
        if what == "NaN" or name in weights:
            raise UnsupportedModelError(
                f"{setting('quant')}: the constant {name} holds {what}; expected finite numbers. Train or "
                "export the network again, or choose quant=none"
            )
