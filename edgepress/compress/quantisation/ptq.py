"""Post-training quantisation: ranges from calibration inputs, weights as they are."""

from collections.abc import Callable
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

    def written(calibration: Calibration, tell: Callable[[str], None]) -> onnx.ModelProto:
        found = calibrate(folded, calibration, inputs)
        if found.apart:
            tell(found.told())
        joined, ranges = with_joins(found.model, found.ranges, inputs)
        return write_qdq(joined, ranges, config.per_channel, scales, inputs[:1], found.floats)

    quantised = written(config.calibration, sources.tell)
    if config.calibration.method != "minmax":
        plain = written(replace(config.calibration, method="minmax"), lambda _: None)
        warn_if_worse(folded, inputs, quantised, plain, config.calibration.method, sources.tell)
    tell_outputs(folded, quantised, inputs, sources.tell)
    return quantised
