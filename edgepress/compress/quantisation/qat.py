"""Quantisation-aware training with TFMOT, ending in the same QDQ model as post-training quantisation.

Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", arXiv:1712.05877. The fake quantisation sits exactly where the QDQ model has its pairs and
starts at the calibrated ranges. Zeros that pruning made stay zero, and a shared codebook stays shared.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx

from edgepress.compress.codebooks.coded_kernels import KERNEL_NAMES, CodedKernel, as_matrix, coded_kernels
from edgepress.compress.codebooks.keras_kernels import (
    CodebookQuantizer,
    LayerConfig,
    SharedCodebook,
    computed_values,
    from_matrix,
    trained_scales,
    wrapped,
)
from edgepress.compress.quantisation.calibration import calibrate
from edgepress.compress.quantisation.joining import with_joins
from edgepress.compress.quantisation.outputs import tell_outputs
from edgepress.compress.quantisation.preparing import prepared, rewritten
from edgepress.compress.quantisation.qdq import (
    activation_parameters,
    int8_scales,
    write_qdq,
)
from edgepress.compress.quantisation.registry import Sources
from edgepress.compress.tuning.data import TuningData
from edgepress.compress.tuning.fine_tune import fine_tune
from edgepress.compress.tuning.suiting import compared, suited_data
from edgepress.compress.tuning.tfmot_setup import tfmot
from edgepress.compress.tuning.trainability import refuse_untrainable
from edgepress.config.quant import Int8Qat
from edgepress.graph.batchnorm import fold_batchnorm
from edgepress.graph.raw_input import moved_input
from edgepress.translate.keras_face import KerasNetwork, build_keras, write_back
from edgepress.translate.plan import Plan, Step
from edgepress.translate.planning import make_plan
from edgepress.translate.tensorflow_setup import keras, tf
from edgepress.translate.trainable import has_own_kernel

_SMALLEST_MAGNITUDE = 1e-6


class RangeQuantizer(tfmot.quantization.keras.quantizers.MovingAverageQuantizer):
    """TFMOT's moving-average quantizer, started at a calibrated range and always holding 0."""

    def __init__(self, low: float, high: float, momentum: float) -> None:
        super().__init__(num_bits=8, per_axis=False, symmetric=False, narrow_range=False)
        self.low, self.high, self.momentum = low, high, momentum
        self.bounds: tuple[Any, ...] = ()

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        def bound(suffix: str, value: float) -> Any:
            start = keras.initializers.Constant(value)
            return layer.add_weight(f"{name}_{suffix}", (), initializer=start, trainable=False)

        self.bounds = bound("min", self.low), bound("max", self.high)
        return dict(zip(("min_var", "max_var"), self.bounds, strict=True))

    def range(self) -> tuple[float, float]:
        """Where the range has moved to."""
        return float(self.bounds[0].numpy()), float(self.bounds[1].numpy())

    def __call__(self, inputs: Any, training: bool, weights: Mapping[str, Any], **_: Any) -> Any:
        low, high = weights["min_var"], weights["max_var"]
        if training:
            keep, learn = self.momentum, 1 - self.momentum
            low.assign(keep * low + learn * tf.minimum(tf.reduce_min(inputs), 0.0))
            high.assign(keep * high + learn * tf.maximum(tf.reduce_max(inputs), 0.0))
        return tf.quantization.fake_quant_with_min_max_vars(inputs, low, high, num_bits=8)


class KernelQuantizer(tfmot.quantization.keras.quantizers.Quantizer):
    """Symmetric, narrow range, from the present weights; zeros present at the start stay (as TFMOT's
    PrunePreserveDefaultWeightsQuantizer keeps them, but for depthwise kernels too).
    """

    def __init__(self, kernel: Any, rows: int, per_channel: bool, transposed: bool) -> None:
        self.kernel, self.rows = kernel, rows
        self.per_channel, self.transposed = per_channel, transposed

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        return {"mask": tf.constant((self.kernel != 0).astype(np.float32))}

    def __call__(self, inputs: Any, training: bool, weights: Mapping[str, Any], **_: Any) -> Any:
        kernel = inputs * weights["mask"]
        last = tf.transpose(kernel, (0, 1, 3, 2)) if self.transposed else kernel
        matrix = tf.reshape(last, (self.rows, -1))
        magnitude = tf.reduce_max(tf.abs(matrix), 0 if self.per_channel else None)
        limit = tf.stop_gradient(tf.maximum(magnitude, _SMALLEST_MAGNITUDE))
        fake_quant = (
            tf.quantization.fake_quant_with_min_max_vars_per_channel
            if self.per_channel
            else tf.quantization.fake_quant_with_min_max_vars
        )
        rounded = fake_quant(matrix, -limit, limit, num_bits=8, narrow_range=True)
        return from_matrix(rounded, inputs, self.transposed)

    def get_config(self) -> dict[str, Any]:
        return dict(vars(self))


def quantise(model: onnx.ModelProto, config: Int8Qat, sources: Sources) -> onnx.ModelProto:
    """Float → int8 QDQ, trained to be so, or calibrated alone where training ended worse on validation."""
    inputs = sources.calibration(config.calibration.samples)
    model = rewritten(model)
    calibrated = calibrate(prepared(fold_batchnorm(model)), config.calibration, inputs)
    if calibrated.apart:
        sources.tell(calibrated.told())
    joined, ranges = with_joins(calibrated.model, calibrated.ranges, inputs)
    plan = make_plan(joined)
    refuse_untrainable(joined, plan, config.fine_tune, "quant")
    started = write_qdq(joined, ranges, config.per_channel, {}, inputs[:1], calibrated.floats)
    coded = coded_kernels(model, sources.clusters) if config.per_channel else {}
    outputs = {
        name: RangeQuantizer(*bounds, 1.0 if name in calibrated.settled else config.range_momentum)
        for name, bounds in _start_ranges(started).items()
    }
    network = _network(plan, outputs, config.per_channel, coded)
    teacher = build_keras(plan).model if config.fine_tune.distillation else None
    data = sources.tuning()
    fitting = suited_data(joined, plan, data, config.fine_tune, "quant")
    fine_tune(network.model, fitting, config.fine_tune, "quant", teacher)
    trained = write_back(joined, network, computed_values(network))
    reached = {name: output.range() for name, output in outputs.items() if output.bounds}
    scales = {name: int8_scales(scale) for name, scale in trained_scales(network).items()}
    ended = {**ranges, **_end_ranges(started, reached)}
    learnt = write_qdq(trained, ended, config.per_channel, scales, inputs[:1], calibrated.floats)
    if config.fine_tune.epochs:
        kept = {name: int8_scales(kernel.coded.scale) for name, kernel in coded.items()}
        plain = write_qdq(joined, ranges, config.per_channel, kept, inputs[:1], calibrated.floats)
        if _is_better(plain, learnt, model, data, sources.tell):
            trained, learnt = joined, plain
    tell_outputs(trained, learnt, inputs, sources.tell)
    return learnt


def _is_better(
    calibrated: onnx.ModelProto,
    learnt: onnx.ModelProto,
    model: onnx.ModelProto,
    data: TuningData,
    tell: Callable[[str], None],
) -> bool:
    """Whether training made no better int8 model, on the validation split, than calibration alone; says so.

    Without classes, a sample's right class is the one that the float `model` gives.
    """
    plain, trained = (compared(each, model, data.validation) for each in (calibrated, learnt))
    if plain.beats(trained):
        tell(
            f"training in int8 ended at {trained.told()} on validation, calibration alone at {plain.told()}; "
            "keeps the calibrated network, as quant=int8 makes it"
        )
    elif data.course.epochs and not data.course.kept:
        tell(
            f"no epoch of training in int8 was better on validation than calibration alone, {plain.told()}; "
            "keeps the calibrated network, as quant=int8 makes it"
        )
    else:
        return False
    data.course.kept_calibrated = True
    return True


def _network(
    plan: Plan, outputs: Mapping[str, RangeQuantizer], per_channel: bool, coded: Mapping[str, CodedKernel]
) -> KerasNetwork:
    """The plan as Keras layers with fake quantisation of kernels, and of the tensors in `outputs`."""
    books: dict[int, SharedCodebook] = {}

    def kernel_quantizer(step: Step) -> Any:
        weight = step.weights["kernel"]
        kernel, transposed = coded.get(weight.initializer or ""), step.op == "conv_transpose"
        if kernel is None:
            matrix = as_matrix(step.op, weight.values)
            return KernelQuantizer(weight.values, matrix.shape[0], per_channel, transposed)
        shared = books.setdefault(id(kernel.codebook), SharedCodebook(kernel.codebook))
        return CodebookQuantizer(shared, kernel.coded.index, kernel.coded.scale, transposed)

    def wrap(layer: Any, step: Step) -> Any:
        output = outputs.get(step.output)
        if has_own_kernel(step):
            return wrapped(layer, LayerConfig(KERNEL_NAMES[step.op], kernel_quantizer(step), output))
        return wrapped(layer, LayerConfig(None, None, output)) if output else layer

    return build_keras(plan, wrap)


def _start_ranges(quantised: onnx.ModelProto) -> dict[str, tuple[float, float]]:
    """What codes −128..127 cover, for each quantised activation; tensors that share a scale appear once."""
    ranges, seen, float_names = {}, set(), _float_names(quantised)
    for name, parameters in activation_parameters(quantised).items():
        if parameters.scale_name not in seen:
            ranges[float_names.get(name, name)] = parameters.range
            seen.add(parameters.scale_name)
    return ranges


def _end_ranges(
    quantised: onnx.ModelProto, reached: Mapping[str, tuple[float, float]]
) -> dict[str, tuple[float, float]]:
    """For each quantised activation, the range that it or one that it shares a scale with has moved to."""
    parameters, float_names = activation_parameters(quantised), _float_names(quantised)
    moved = {
        each.scale_name: reached[float_names.get(name, name)]
        for name, each in parameters.items()
        if float_names.get(name, name) in reached
    }
    return {name: moved.get(each.scale_name, each.range) for name, each in parameters.items()}


def _float_names(quantised: onnx.ModelProto) -> dict[str, str]:
    """The raw input's name for what only moves it: the float network may scale that, by the same names."""
    return dict.fromkeys(moved_input(quantised), quantised.graph.input[0].name)
