"""Layers with kernels: convolutions, transposed ones, dense layers; and BatchNormalization by itself.

Integer kernels follow TensorFlow Lite's 8-bit quantisation specification: kernels are int8 with zero point 0
and one scale for each output, biases int32 under the product of the input's scale and the kernel's.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgepress.convert.writer.graph import Array, Codes, Tensor
from edgepress.convert.writer.lowering import Lowering, Rule
from edgepress.translate.plan import Step, Weight

_LARGEST_BIAS = 2**31 - 1

_OUTPUTS = {"conv": (3,), "depthwise_conv": (2, 3), "conv_transpose": (2,), "dense": (1,)}
"""The axes of a plan's kernel along which its outputs lie."""


def _window(step: Step, image: Sequence[int], kernel: Sequence[int]) -> tuple[list[int], dict[str, Any]]:
    """Height and width of what a window makes of an image, and the operator's options."""
    a = step.attributes
    dilations = a.get("dilations", (1, 1))
    sizes = []
    for size, k, s, d in zip(image, kernel, a["strides"], dilations, strict=True):
        reach = (k - 1) * d + 1
        sizes.append(-(-size // s) if a["padding"] == "SAME" else (size - reach) // s + 1)
    options: dict[str, Any] = {"padding": a["padding"]}
    options |= {"stride_h": a["strides"][0], "stride_w": a["strides"][1]}
    if "dilations" in a:
        options |= {"dilation_h_factor": dilations[0], "dilation_w_factor": dilations[1]}
    return sizes, options


def _conv(low: Lowering, step: Step, x: Tensor, codes: Codes | None) -> Tensor:
    kernel = step.weights["kernel"]
    sizes, options = _window(step, x.shape[1:3], kernel.values.shape[:2])
    stored = _kernel(low, step, kernel, kernel.values.transpose(3, 0, 1, 2), 0, codes)
    operands: list[Tensor | None] = [x, stored, _bias(step, kernel.values.shape[3], x, stored)]
    shape = (x.shape[0], *sizes, kernel.values.shape[3])
    if stored.dtype == "int4" and _is_pointwise(step, x):
        operands[1] = low.build.reshape(stored, (stored.shape[0], stored.shape[3]))
        return low.build.add("FULLY_CONNECTED", operands, shape, codes=codes, keep_num_dims=True)
    return low.build.add("CONV_2D", operands, shape, codes=codes, **options)


_FOUR_BITS = ("conv", "dense")
_WITHOUT_HYBRID = ("conv_transpose", "conv_3d")


def _is_pointwise(step: Step, x: Tensor) -> bool:
    """Whether it is a dense layer at each place of the image: XNNPACK has these with 4 bits, and no other."""
    kernel, strides = step.weights["kernel"].values, step.attributes["strides"]
    return kernel.shape[:3] == (1, 1, x.shape[3]) and tuple(strides) == (1, 1)


def _depthwise_conv(low: Lowering, step: Step, x: Tensor, codes: Codes | None) -> Tensor:
    kernel = step.weights["kernel"]
    flat = kernel.values.reshape(1, *kernel.values.shape[:2], -1)
    sizes, options = _window(step, x.shape[1:3], flat.shape[1:3])
    stored = _kernel(low, step, kernel, flat, 3, codes)
    operands = [x, stored, _bias(step, flat.shape[3], x, stored)]
    shape = (x.shape[0], *sizes, flat.shape[3])
    multiplier = kernel.values.shape[3]
    return low.build.add(
        "DEPTHWISE_CONV_2D", operands, shape, codes=codes, depth_multiplier=multiplier, **options
    )


def _conv_transpose(low: Lowering, step: Step, x: Tensor, codes: Codes | None) -> Tensor:
    """Grouped ones part by part, since TFLite has no grouped kernel."""
    a, kernel = step.attributes, step.weights["kernel"]
    groups, channels = a["groups"], kernel.values.shape[2]
    parts = low.build.split(x, groups, 3)
    kernels = np.split(kernel.values.transpose(2, 0, 1, 3), groups, axis=3)
    options = {"padding": a["padding"], "stride_h": a["strides"][0], "stride_w": a["strides"][1]}
    made = []
    for number, (part, own) in enumerate(zip(parts, kernels, strict=True)):
        shape = (x.shape[0], *a["size"], channels)
        stored = _kernel(low, step, kernel, own, 0, codes)
        bias = _bias(_part(step, number, groups), channels, part, stored)
        operands = [low.build.integers(shape), stored, part, bias]
        made.append(low.build.add("TRANSPOSE_CONV", operands, shape, codes=codes, **options))
    return low.build.concat(made, 3)


def _part(step: Step, number: int, groups: int) -> Step:
    """The step with the bias of one group alone."""
    weight = step.weights.get("bias")
    if weight is None or groups == 1:
        return step
    values = np.array_split(weight.values, groups)[number]
    return replace(step, weights={**step.weights, "bias": Weight(values)})


def _dense(low: Lowering, step: Step, x: Tensor, codes: Codes | None) -> Tensor:
    """The operator takes rows of the last axis, whatever is in front of it."""
    kernel = _of_one_scale(step.weights["kernel"])
    stored = _kernel(low, step, kernel, kernel.values.T, 0, codes)
    outputs = kernel.values.shape[1]
    shape = (*x.shape[:-1], outputs)
    operands = [x, stored, _bias(step, outputs, x, stored)]
    options: dict[str, Any] = {"keep_num_dims": len(shape) > 2}
    if stored.codes is not None and codes is None:
        options["asymmetric_quantize_inputs"] = True
    return low.build.add("FULLY_CONNECTED", operands, shape, codes=codes, **options)


def _of_one_scale(weight: Weight) -> Weight:
    """A kernel whose outputs all have the same scale with that one: TFLM keeps 8 bytes in RAM for each."""
    known = weight.quantisation
    if known is None or np.ptp(known.scale) or np.ptp(known.zero_points):
        return weight
    one = replace(known, scale=known.scale.reshape(-1)[:1], zero_points=known.zero_points.reshape(-1)[:1])
    return replace(weight, quantisation=one)


def _kernel(
    low: Lowering, step: Step, weight: Weight, values: Array, axis: int, codes: Codes | None
) -> Tensor:
    """The kernel as the operator stores its axes, of which `axis` is that of the outputs.

    Codes stay codes also where the layer computes with numbers: the runtime makes numbers of them. Codes of 4
    bits have bytes where no fast kernel reads them: a depthwise one, and all that compute with numbers.
    """
    name, own = weight.initializer or f"{step.output};kernel", stored_codes(weight, axis)
    if own is None:
        return low.build.constant(values, name=name)
    if own.dtype == "int4" and (codes is None or codes.dtype != "int8" or step.op not in _FOUR_BITS):
        own = replace(own, dtype="int8")
    stored = Tensor(name, values.shape, own.dtype, own, own.of(values))
    hybrid = low.hybrid and own.symmetric and step.op not in _WITHOUT_HYBRID and not _overflows(step)
    as_codes = codes is not None or hybrid
    return stored if as_codes else low.build.dequantize(stored)


def stored_codes(weight: Weight, axis: int) -> Codes | None:
    """The codes of a kernel whose outputs lie along `axis`; None for one of floats."""
    known = weight.quantisation
    if known is None or not (known.scale > 0).all():
        return None
    return Codes(known.scale.astype(np.float32).reshape(-1), known.zero_points.reshape(-1), axis, known.dtype)


def _fits(step: Step, x: Tensor) -> bool:
    """Whether the layer has integer kernels: its kernel is symmetric, and its bias of 32 bits, or 64."""
    kernel, bias = step.weights["kernel"].quantisation, step.weights.get("bias")
    if kernel is None or kernel.zero_points.any() or not (kernel.scale > 0).all() or x.codes is None:
        return False
    if x.dtype == "int8" and _overflows(step):
        return False
    if bias is None or x.dtype == "int16":
        return True
    product = float(x.codes.scale.item()) * kernel.scale.astype(np.float64)
    groups = bias.values.reshape(-1, product.size)
    return bool((np.abs(groups) / product < _LARGEST_BIAS).all())


def _overflows(step: Step) -> bool:
    """Whether several weights of one output have the code −128.

    XNNPACK's kernels for ARM add two products in 16 bits, which do not hold (−128)·(−128) twice: the sum
    changes its sign, also for depthwise layers of the newest processors.
    """
    weight = step.weights["kernel"]
    known, values = weight.quantisation, weight.values
    if known is None or known.zero_points.any():
        return False
    axes = _OUTPUTS[step.op]
    sizes = [size if axis in axes else 1 for axis, size in enumerate(values.shape)]
    scale = known.scale.reshape(sizes if known.scale.size > 1 else (1,) * values.ndim)
    others = tuple(axis for axis in range(values.ndim) if axis not in axes)
    return bool(((values < -127.5 * scale).sum(axis=others) > 1).any())


def _bias(step: Step, outputs: int, x: Tensor, kernel: Tensor) -> Tensor:
    """The layer's bias; 0 where it has none, since some runtimes want one."""
    weight = step.weights.get("bias")
    name = "" if weight is None else weight.initializer or ""
    values = np.zeros(outputs, np.float32) if weight is None else weight.values
    if x.codes is None or kernel.codes is None:
        return Tensor(name, values.shape, "float32", None, values)
    scales = float(x.codes.scale.item()) * kernel.codes.scale.astype(np.float64)
    dtype = "int64" if x.dtype == "int16" else "int32"
    codes = Codes(scales.astype(np.float32), np.zeros(scales.size, np.int64), 0, dtype)
    return Tensor(name, values.shape, dtype, codes, _bias_codes(weight, values, scales).astype(dtype))


def _bias_codes(weight: Weight | None, values: Array, scales: Array) -> Array:
    """The codes that the network has, if they are of just these scales; else those of its numbers."""
    known = None if weight is None else weight.quantisation
    if known is not None and known.codes is not None and np.allclose(known.scale, scales, 1e-6, 0):
        return known.codes
    rounded: Array = np.rint(values.astype(np.float64) / scales)
    return rounded


Layer = Callable[[Lowering, Step, Tensor, Codes | None], Tensor]


def _rule(lower: Layer) -> Rule:
    def floats(low: Lowering, step: Step) -> Tensor:
        return lower(low, step, low.number(step.inputs[0]), None)

    def integers(low: Lowering, step: Step) -> Tensor | None:
        x, codes = low.code(step.inputs[0]), low.wanted.get(step.output)
        if x is None or codes is None or not _fits(step, x):
            return None
        return lower(low, step, x, codes)

    return Rule(floats, integers)


def _batch_norm(low: Lowering, step: Step) -> Tensor:
    w = {part: weight.values.astype(np.float64) for part, weight in step.weights.items()}
    scale = w["gamma"] / np.sqrt(w["variance"] + step.attributes["epsilon"])
    shift = w["beta"] - w["mean"] * scale
    scaled = low.build.times(low.number(step.inputs[0]), scale.astype(np.float32))
    return low.build.plus(scaled, shift.astype(np.float32))


def _conv_3d(low: Lowering, step: Step) -> Tensor:
    """In numbers: CONV_3D has no codes, but its kernel may be stored as such."""
    x, weight, a = low.number(step.inputs[0]), step.weights["kernel"], step.attributes
    kernel = weight.values
    sizes = []
    for size, k, s, d in zip(x.shape[1:4], kernel.shape, a["strides"], a["dilations"], strict=False):
        sizes.append(-(-size // s) if a["padding"] == "SAME" else (size - (k - 1) * d - 1) // s + 1)
    options: dict[str, Any] = {"padding": a["padding"]}
    for axis, s, d in zip("dhw", a["strides"], a["dilations"], strict=True):
        options |= {f"stride_{axis}": s, f"dilation_{axis}_factor": d}
    bias = step.weights["bias"].values if "bias" in step.weights else np.zeros(kernel.shape[4], np.float32)
    operands = [x, _kernel(low, step, weight, kernel, 4, None), low.build.constant(bias)]
    return low.build.add("CONV_3D", operands, (x.shape[0], *sizes, kernel.shape[4]), **options)


def _conv_by(low: Lowering, step: Step) -> Tensor:
    """By a kernel that is computed, in numbers."""
    x, kernel = low.numbers(step)
    sizes, options = _window(step, x.shape[1:3], kernel.shape[1:3])
    bias = low.build.constant(np.zeros(kernel.shape[0], np.float32))
    return low.build.add("CONV_2D", [x, kernel, bias], (x.shape[0], *sizes, kernel.shape[0]), **options)


RULES = {
    "conv_3d": Rule(_conv_3d),
    "conv_by": Rule(_conv_by),
    "conv": _rule(_conv),
    "depthwise_conv": _rule(_depthwise_conv),
    "conv_transpose": _rule(_conv_transpose),
    "dense": _rule(_dense),
    "batch_norm": Rule(_batch_norm),
}
