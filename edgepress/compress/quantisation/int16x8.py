"""Activations of 16 bits and kernels of 8: nearer to float32 than int8, for networks that int8 hurts.

16 bits hold what 8 need care for, so sums, joins and curves get no scales of their own choice here.
"""

from collections.abc import Mapping

import onnx

from edgepress.compress.codebooks.coded_kernels import coded_kernels
from edgepress.compress.quantisation.calibration import calibrate_words
from edgepress.compress.quantisation.joining import mark
from edgepress.compress.quantisation.joins import find_joins
from edgepress.compress.quantisation.outputs import tell_outputs
from edgepress.compress.quantisation.preparing import prepared, rewritten
from edgepress.compress.quantisation.qdq import int8_scales
from edgepress.compress.quantisation.registry import Sources
from edgepress.compress.quantisation.sharing import Ranges, constant_ranges
from edgepress.compress.quantisation.words import unquantised_words, write_words
from edgepress.config.quant import Int16x8
from edgepress.graph.batchnorm import fold_batchnorm
from edgepress.graph.kept_floats import joined_ranges
from edgepress.graph.view import copy

_KEPT = 256
"""So many of 65536 codes an operand of a join has to keep: as many as int8 has."""


def quantise(model: onnx.ModelProto, config: Int16x8, sources: Sources) -> onnx.ModelProto:
    """Float → QDQ with int16 activations; codebooks of at most `sources.clusters` values stay shared."""
    inputs = sources.calibration(config.calibration.samples)
    model = rewritten(model, slopes_of_int8=False)
    folded = prepared(fold_batchnorm(model))
    coded = coded_kernels(model, sources.clusters)
    scales = {name: int8_scales(kernel.coded.scale) for name, kernel in coded.items()}
    found = calibrate_words(folded, config.calibration, inputs)
    if found.apart:
        sources.tell(found.told(16))
    joined = copy(found.model)
    mark(joined, _joins_in_floats(joined, found.ranges))
    floats = [*unquantised_words(joined), *found.floats]
    quantised = write_words(joined, found.ranges, floats, scales)
    tell_outputs(folded, quantised, inputs, sources.tell)
    return quantised


def _joins_in_floats(model: onnx.ModelProto, ranges: Ranges) -> Mapping[str, str]:
    """The joins of which one range for all would leave an operand fewer codes than int8 has, and why."""
    known = {**constant_ranges(model, ("Concat", "Max", "Min", "Where", "Pad")), **ranges}
    reasons = dict[str, str]()
    for join in find_joins(model, known):
        largest = max(_magnitude(known[name]) for name in (*join.operands, join.result))
        spans = {name: _magnitude(known[name]) for name in join.operands}
        worst = min(spans, key=lambda name: spans[name])
        if 0 < spans[worst] * 2 * 32768 < _KEPT * largest:
            operands = {name: known[name] for name in join.operands}
            reasons[join.node.name] = joined_ranges(operands, worst, 16)
    return reasons


def _magnitude(bounds: tuple[float, float]) -> float:
    return max(-bounds[0], bounds[1], 0.0)
