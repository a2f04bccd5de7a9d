"""Writing a QDQ model for given activation ranges, with onnxruntime's static quantisation.

Post-training quantisation and quantisation-aware training both end here; they differ in constants only.
"""

import contextlib
import logging
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from edgepress.compress.codebooks.codebook import LEVELS
from edgepress.compress.quantisation.aligning import aligned_ranges
from edgepress.compress.quantisation.clipping import UNCLIPPED, restore_clipping
from edgepress.compress.quantisation.floats import unquantised_nodes
from edgepress.compress.quantisation.nested_reads import read_codes_within
from edgepress.compress.quantisation.scales import UNIT, scale_and_zero_point, unit_range
from edgepress.compress.quantisation.sharing import Ranges, shared_ranges
from edgepress.compress.quantisation.unscaling import unscaled
from edgepress.datasets.prepared import Array
from edgepress.datasets.samples import Inputs, as_samples
from edgepress.graph.input_scaling import Coded
from edgepress.graph.ties import raise_halves
from edgepress.graph.view import initializers, producers
from edgepress.graph.weights import kernels
from edgepress.measure.entries import declared_entries

_FIXED_RANGES = {"Sigmoid": (0.0, 255 / 256), "Softmax": (0.0, 255 / 256), "Tanh": (-1.0, 127 / 128)}
"""TFLite's int8 kernels of these demand exactly these output scales: 1/256 and 1/128."""


_UNSIGNED = 128
"""By how much the codes of activations are larger in the ONNX model than in the `.tflite`.

ONNX Runtime has fast kernels of unsigned activations on all processors. On x86 it computes signed ones in
floats wherever several nodes read them.
"""


@contextlib.contextmanager
def without_advice() -> Iterator[None]:
    """onnxruntime's quantisation logs advice to pre-process models, which the passes here have done."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


class _OneBatch(CalibrationDataReader):
    """What onnxruntime wants to calibrate with; ranges are given, so what it finds is not used."""

    def __init__(self, model: onnx.ModelProto, sample: Inputs) -> None:
        self._batches = as_samples(sample).feeds(declared_entries(model))

    def get_next(self) -> dict[str, Array] | None:
        return next(self._batches, None)


def int8_scales(channel_scales: Array) -> Array:
    """The int8 scales (channels,) that store codebook values in [−1, 1] times `channel_scales`."""
    return np.where(channel_scales > 0, channel_scales / np.float32(LEVELS), 1).astype(np.float32)


def write_qdq(
    model: onnx.ModelProto,
    ranges: Ranges,
    per_channel: bool,
    kernel_scales: Mapping[str, Array],
    sample: Inputs,
    floats: Collection[str] = (),
) -> onnx.ModelProto:
    """Quantise a float model to int8 QDQ.

    Args:
        model: float32, BatchNormalization folded, from `prepared`.
        ranges: of activations by tensor name.
        per_channel: one scale for each output channel of a kernel instead of one for each kernel.
        kernel_scales: scales (channels,) for kernels whose codes must come out as given; others get
            theirs from their largest magnitude.
        sample: one of each input, for onnxruntime's own calibration, whose result is not used.
        floats: names of nodes that stay in floats, besides those that always do; what they read or make, and
            nothing else does, needs no range.

    Ensures: a tensor whose range starts at 0 has zero point −128, so a Relu before it may be left out.
    """
    if model.graph.input[0].name in ranges:
        step = float(scale_and_zero_point(*ranges[model.graph.input[0].name])[0])
        coded: Coded = "per channel" if per_channel else "per tensor"
        kept = {*unquantised_nodes(model), *floats}
        model, ranges, kernel_scales = unscaled(model, ranges, kernel_scales, step, kept, coded)
    fixed = tensors_of_fixed_range(model)
    shared = aligned_ranges(model, shared_ranges(model, ranges, fixed), fixed)
    # A constant mask of −inf has no range and needs none: only nodes that stay in floats read it.
    finite = {name: bounds for name, bounds in shared.items() if np.isfinite(bounds).all()}
    unknown = set(_activations(model)) - set(finite)  # onnxruntime wants some range of each
    overrides = {name: [_override(*bounds)] for name, bounds in finite.items()}
    overrides |= {name: [_override(0.0, 1.0)] for name in sorted(unknown)}
    channel_axes = {kernel.initializer: kernel.channel_axis for kernel in kernels(model)}
    stacked = [k.initializer for k in kernels(model) if k.node.op_type == "MatMul" and k.values.ndim > 2]
    overrides |= {name: [{"symmetric": True}] for name in stacked}  # onnxruntime takes one scale for these
    for name, scales in kernel_scales.items():
        overrides[name] = [
            {"axis": channel_axes[name], "scale": np.float32(s), "zero_point": np.int8(0)} for s in scales
        ]
    options = {"WeightSymmetric": True, "ActivationSymmetric": False, "TensorQuantOverrides": overrides}
    with tempfile.TemporaryDirectory() as folder, without_advice():
        source, target = Path(folder, "float.onnx"), Path(folder, "qdq.onnx")
        onnx.save(model, source)
        quantize_static(
            source,
            target,
            _OneBatch(model, sample),
            quant_format=QuantFormat.QDQ,
            per_channel=per_channel,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=op_types(model),
            nodes_to_exclude=[*unquantised_nodes(model), *floats],
            extra_options=options,
        )
        quantised = onnx.load(target)
    guessed = unknown.intersection(n.input[0] for n in quantised.graph.node if n.op_type == "QuantizeLinear")
    assert not guessed, f"quantised, though no range is known: {sorted(guessed)}"
    read_codes_within(quantised)
    quantised = restore_clipping(quantised, model)
    _check_zero_points(quantised, shared)
    raise_halves(quantised)
    return quantised


def _activations(model: onnx.ModelProto) -> list[str]:
    made = (name for node in model.graph.node for name in node.output if name)
    return [*(entry.name for entry in declared_entries(model) if entry.dtype == "float32"), *made]


def op_types(model: onnx.ModelProto) -> list[str]:
    """Every operator in the graph: which stay float, `floats` says node by node."""
    return sorted({node.op_type for node in model.graph.node})


@dataclass(frozen=True)
class ActivationParameters:
    """How an activation is quantised; tensors with the same `scale_name` share their parameters."""

    scale: float
    zero_point: int
    scale_name: str

    @property
    def range(self) -> tuple[float, float]:
        """What codes −128..127 cover."""
        return (-128 - self.zero_point) * self.scale, (127 - self.zero_point) * self.scale


def activation_parameters(model: onnx.ModelProto) -> dict[str, ActivationParameters]:
    """The parameters of each quantised activation of a QDQ model, by the float tensor's name."""
    constants = initializers(model)
    found = {}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and not node.input[0].endswith(UNCLIPPED):
            scale, zero = (constants[name].item() for name in node.input[1:3])
            name = node.input[0].removesuffix("_QuantizeLinear_Input")
            found[name] = ActivationParameters(float(scale), int(zero) - _UNSIGNED, node.input[1])
    return found


def tensors_of_fixed_range(model: onnx.ModelProto) -> dict[str, tuple[float, float]]:
    """The tensors whose range is prescribed, by TFLite's kernels as a rule, and that range."""
    made = {
        name: _FIXED_RANGES[node.op_type]
        for name, node in producers(model).items()
        if node.op_type in _FIXED_RANGES
    }
    factors = (tensor.name for tensor in model.graph.initializer if tensor.name.startswith(UNIT))
    return {**made, **{name: unit_range(name) for name in factors}}


def _override(low: float, high: float) -> dict[str, Any]:
    scale, zero = scale_and_zero_point(low, high)
    return {"scale": np.array(scale), "zero_point": np.array(int(zero) + _UNSIGNED, np.uint8)}


def _check_zero_points(quantised: onnx.ModelProto, ranges: Ranges) -> None:
    for name, parameters in activation_parameters(quantised).items():
        # A tensor that shares the parameters of the one it was reshaped from has no say in them.
        own = parameters.scale_name == f"{name}_scale"
        low, _ = ranges.get(name, (-1.0, 1.0)) if own else (-1.0, 1.0)
        assert parameters.zero_point == -128 or low < 0, f"{name} from {low}: {parameters}"
