"""The largest score of each row that a Softmax or ArgMax decides over: what lies far below it is not seen."""

import math
from collections.abc import Mapping

import numpy as np
import onnx

from edgepress.compress.quantisation.activations import Activations, Range
from edgepress.datasets.prepared import Array
from edgepress.graph.view import attributes

STEPS = 512
"""Half a step of a result in [0, 1] is 1/512: less does not change its code."""

GAIN = 2.0
"""A range is cut where that at least halves it; else it stays what calibration found."""

_APART = 100.0
"""A row that is masked as a whole has its largest score that far below those of all others."""


def least_maxima(
    model: onnx.ModelProto, ranges: Mapping[str, Range], activations: Activations
) -> dict[str, float]:
    """For what each Softmax and ArgMax makes: below what their operand does not matter in any row.

    That is the smallest of the rows' largest elements; for a Softmax less by so much that a row full of such
    elements comes to half a step of a share.
    """
    nodes = [node for node in model.graph.node if _is_wide(node, ranges)]
    if not nodes:
        return {}
    rows, maxima = {node.output[0]: _Rows(model, node) for node in nodes}, dict[str, list[Array]]()
    for tensors in activations:
        for node in nodes:
            maxima.setdefault(node.output[0], []).append(rows[node.output[0]].maxima(tensors[node.input[0]]))
    return {name: _least(np.concatenate(found)) - rows[name].margin for name, found in maxima.items()}


def _is_wide(node: onnx.NodeProto, ranges: Mapping[str, Range]) -> bool:
    if node.op_type not in ("Softmax", "ArgMax"):
        return False
    low, high = ranges.get(node.input[0], (0.0, 0.0))
    return high - low >= GAIN * math.log(STEPS)


class _Rows:
    """The rows of scores over which a Softmax or ArgMax decides."""

    def __init__(self, model: onnx.ModelProto, node: onnx.NodeProto) -> None:
        opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
        given, softmax = attributes(node), node.op_type == "Softmax"
        self._flat = softmax and opset < 13
        self._axis = given.get("axis", (1 if self._flat else -1) if softmax else 0)
        self._scores, self.margin = softmax, 0.0

    def maxima(self, values: Array) -> Array:
        """The largest element of each row (rows,)."""
        axes = tuple(range(self._axis % values.ndim, values.ndim)) if self._flat else self._axis
        largest = values.max(axis=axes).reshape(-1)
        if self._scores:
            self.margin = math.log(STEPS * values.size / largest.size)
        return np.asarray(largest)


def _least(maxima: Array) -> float:
    """The smallest, but of rows that are masked as a whole."""
    ordered = np.sort(maxima[np.isfinite(maxima)].astype(np.float64))
    if not ordered.size:
        return -np.inf
    gaps = np.diff(ordered)
    if gaps.size and gaps.max() > max(_APART, 0.9 * (ordered[-1] - ordered[0])):
        return float(ordered[gaps.argmax() + 1])
    return float(ordered[0])
