"""Post-training quantisation: ranges from calibration inputs, weights as they are."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import onnx

from edgepress.compress.codebooks.coded_kernels import coded_kernels
from edgepress.compress.quantisation.calibration import calibrate
from edgepress.compress.quantisation.comparing import warn_if_worse
from edgepress.compress.quantisation.joining import with_joins
from edgepress.compress.quantisation.outputs import tell_outputs
from edgepress.compress.quantisation.preparing import prepared, rewritten
from edgepress.compress.quantisation.qdq import int8_scales, write_qdq
from edgepress.compress.quantisation.registry import Sources
from edgepress.config.quant import Calibration, Int8
from edgepress.datasets.prepared import Array
from edgepress.datasets.samples import Inputs
from edgepress.graph.batchnorm import fold_batchnorm


def quantise(model: onnx.ModelProto, config: Int8, sources: Sources) -> onnx.ModelProto:
    """Float → int8 QDQ; shared codebooks of at most `sources.clusters` values stay shared.

    Where another method of calibration than minmax was chosen and is the worse one, that is told.
    """
    inputs = sources.calibration(config.calibration.samples)
    model = rewritten(model)
    folded = prepared(fold_batchnorm(model))
    coded = coded_kernels(model, sources.clusters) if config.per_channel else {}
    scales = {name: int8_scales(kernel.coded.scale) for name, kernel in coded.items()}
    return quantise_folded(
        folded, config.calibration, inputs, scales, sources.tell, folded, config.per_channel
    )


def quantise_folded(
    model: onnx.ModelProto,
    calibration: Calibration,
    inputs: Inputs,
    scales: Mapping[str, Array],
    tell: Callable[[str], None],
    exact: onnx.ModelProto,
    per_channel: bool = True,
) -> onnx.ModelProto:
    """The model in int8 QDQ.

    Args:
        model: float32, from `prepared`.
        calibration: how ranges are found.
        inputs: what they are found in.
        scales: as in `write_qdq`.
        tell: takes lines that whoever runs it should read.
        exact: the network that is to be approximated.
        per_channel: as in `write_qdq`.
    """

    def written(calibration: Calibration, tell: Callable[[str], None]) -> onnx.ModelProto:
        found = calibrate(model, calibration, inputs)
        if found.apart:
            tell(found.told())
        joined, ranges = with_joins(found.model, found.ranges, inputs)
        return write_qdq(joined, ranges, per_channel, scales, inputs[:1], found.floats)

    quantised = written(calibration, tell)
    if calibration.method != "minmax":
        plain = written(replace(calibration, method="minmax"), lambda _: None)
        warn_if_worse(exact, inputs, quantised, plain, calibration.method, tell)
    tell_outputs(exact, quantised, inputs, tell)
    return quantised
