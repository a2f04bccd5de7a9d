"""A network to be quantised whose input's normalisation is in its first layers, with the ranges of that."""

from collections.abc import Collection, Mapping

import numpy as np
import onnx

from edgepress.compress.quantisation.sharing import Ranges
from edgepress.graph.input_scaling import Coded, without_scaling
from edgepress.graph.raw_input import moved_input
from edgepress.graph.view import Array


def unscaled(
    model: onnx.ModelProto,
    ranges: Ranges,
    kernel_scales: Mapping[str, Array],
    step: float,
    kept: Collection[str],
    coded: Coded,
) -> tuple[onnx.ModelProto, Ranges, Mapping[str, Array]]:
    """The model, the ranges of its activations and the scales of its kernels, without what scales the input.

    `step` is that of the input's codes, `kept` are the names of nodes that stay as they are, and `coded` says
    how kernels become int8.
    """
    low, high = ranges[model.graph.input[0].name]
    done = without_scaling(model, step, kernel_scales, kept, coded)
    if done.model is model:
        return model, ranges, kernel_scales
    scales = {name: each * np.float32(done.factors.get(name, 1.0)) for name, each in kernel_scales.items()}
    if done.mean is not None:
        ends = min(low, 0.0) - float(done.mean.max()), max(high, 0.0) - float(done.mean.min())
        ranges = {**ranges, done.centred: ends}
    ranges = {**ranges, **dict.fromkeys(moved_input(done.model), (low, high))}
    return done.model, ranges, scales
