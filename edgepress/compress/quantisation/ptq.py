"""Post-training quantisation: ranges from calibration inputs, weights as they are."""

import io
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod
from onnxruntime.quantization.calibrate import create_calibrator

from edgepress.compress.codebooks.coded_kernels import coded_kernels
from edgepress.compress.quantisation.preparing import prepared, rewritten
from edgepress.compress.quantisation.qdq import (
    InputReader,
    int8_scales,
    op_types,
    with_fixed_ranges,
    without_advice,
    write_qdq,
)
from edgepress.compress.quantisation.registry import Sources
from edgepress.config.quant import Calibration, Int8
from edgepress.datasets.prepared import Array
from edgepress.graph.batchnorm import fold_batchnorm

_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}


def quantise(model: onnx.ModelProto, config: Int8, sources: Sources) -> onnx.ModelProto:
    """Float → int8 QDQ; shared codebooks of at most `sources.clusters` values stay shared."""
    inputs = sources.calibration(config.calibration.samples)
    model = rewritten(model)
    folded = prepared(fold_batchnorm(model))
    ranges = calibrate(folded, config.calibration, inputs)
    coded = coded_kernels(model, sources.clusters) if config.per_channel else {}
    scales = {name: int8_scales(kernel.coded.scale) for name, kernel in coded.items()}
    return write_qdq(folded, ranges, config.per_channel, scales, inputs[:1])


def calibrate(model: onnx.ModelProto, config: Calibration, inputs: Array) -> dict[str, tuple[float, float]]:
    """The range of each activation over raw inputs (n, C, H, W), by tensor name.

    `quantize_static` would calibrate too, but gives its histograms no number of bins: its entropy method
    at the default returned exactly the ranges of minmax.
    """
    # The entropy method merges bins into 128 quantised ones, as TensorRT's does.
    options = {"num_bins": config.bins, "percentile": config.percentile, "num_quantized_bins": 128}
    with tempfile.TemporaryDirectory() as folder, without_advice(), redirect_stdout(io.StringIO()):
        source, augmented = Path(folder, "float.onnx"), Path(folder, "augmented.onnx")
        onnx.save(model, source)
        calibrator = create_calibrator(
            source, op_types(model), str(augmented), _METHODS[config.method], extra_options=options
        )
        calibrator.collect_data(InputReader(model.graph.input[0], inputs))
        data = calibrator.compute_data()
        del calibrator
    ranges = {name: (float(np.min(t.lowest)), float(np.max(t.highest))) for name, t in data.items()}
    return with_fixed_ranges(model, ranges)
