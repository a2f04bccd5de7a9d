"""Conv, 1-D and 2-D: grouped, dilated and depthwise. A sequence is an image of height 1."""

from dataclasses import replace
from typing import Any

import numpy as np

from edgepress.translate.layout import channels_last
from edgepress.translate.ops.padding import Window, padded, window
from edgepress.translate.ops.volumes import plan_conv_3d, plan_conv_by_computed
from edgepress.translate.plan import Array, Quantisation, Weight
from edgepress.translate.planner import Constant, Node, OpPlanner, Planner, Value, unsupported


def plan_conv(node: Node, planner: Planner) -> None:
    """Kernel (O, I/g, kH, kW) → HWIO, or (kH, kW, C, multiplier) for a depthwise convolution."""
    if node.inputs[1] not in planner.constants:
        plan_conv_by_computed(node, planner)
        return
    kernel = planner.constant(node, 1)
    if kernel.values.ndim == 5:
        plan_conv_3d(node, planner, kernel, quantisation(kernel, len(kernel.values), 0))
        return
    value = as_image(node, planner, kernel)
    spatial = spatial_kernel(kernel)
    w = window(node, value, spatial)
    groups, channels = node.attributes.get("group", 1), value.shape[1]
    depthwise = groups > 1 and groups == channels
    value, mode, inner, skipped = _feasible(node, planner, value, w, depthwise)
    weight = _depthwise_kernel(kernel, groups) if depthwise else _kernel(kernel)
    kernels = {"kernel": weight}
    planner_op = "depthwise_conv" if depthwise else "conv"
    weights = {**kernels, **bias(node, planner)}
    options: dict[str, Any] = {
        "strides": inner.strides,
        "dilations": w.dilations,
        "padding": mode,
        "groups": groups,
    }
    if skipped is None and kernel.values.ndim == 4:
        planner.emit(node, planner_op, (value,), channels_last(4), weights, **options)
        return
    result = planner.emit_helper(node, planner_op, (value,), "image", value, weights, **options)
    if skipped is not None:
        cut: dict[str, Any] = {"begin": (None,) * 4, "end": (None,) * 4, "strides": (1, *skipped, 1)}
        if kernel.values.ndim == 4:
            planner.emit(node, "cut", (result,), channels_last(4), **cut)
            return
        result = planner.emit_helper(node, "cut", (result,), "strided", result, **cut)
    as_sequence(node, planner, result)


def _feasible(
    node: Node, planner: Planner, value: Value, w: Window, depthwise: bool
) -> tuple[Value, str, Window, tuple[int, ...] | None]:
    """The padded operand, its mode and window, and the strides to take afterwards where need be.

    Neither TensorFlow nor Keras runs strides with dilations, or unequal strides depthwise.
    """
    both = max(w.strides) > 1 and max(w.dilations) > 1
    if both or (depthwise and len(set(w.strides)) > 1):
        inner = replace(w, strides=(1, 1))
        return *padded(node, planner, value, inner), inner, w.strides
    return *padded(node, planner, value, w), w, None


def as_image(node: Node, planner: Planner, kernel: Constant) -> Value:
    """The operand stored NHWC; a sequence (N, C, L) as (N, C, 1, L)."""
    value, rank = planner.value(node.inputs[0]), kernel.values.ndim
    if rank not in (3, 4):
        raise unsupported(node, f"its kernel has rank {rank}; only 1-D to 3-D convolutions are translated")
    value = planner.stored_as(node, value, channels_last(rank))
    if rank == 4:
        return value
    batch, channels, length = value.shape
    image = planner.reshaped(node, value, (batch, 1, length, channels), "as_image")
    return replace(image, shape=(batch, channels, 1, length), layout=channels_last(4))


def as_sequence(node: Node, planner: Planner, image: Value) -> None:
    """Write the node's output (N, C, L) from an image (N, C, 1, L)."""
    batch, channels, length = planner.shape(node.outputs[0])
    shape = [-1 if size is None else size for size in (batch, length, channels)]
    planner.emit(node, "reshape", (image,), channels_last(3), shape=shape)


def spatial_kernel(kernel: Constant) -> tuple[int, ...]:
    """(kH, kW) of a kernel of rank 3 or 4."""
    return (1, *kernel.values.shape[2:]) if kernel.values.ndim == 3 else kernel.values.shape[2:]


def bias(node: Node, planner: Planner) -> dict[str, Weight]:
    """The optional third operand, as the weight `bias`."""
    if not node.has_input(2):
        return {}
    constant = planner.constant(node, 2)
    values, shape = constant.values.reshape(-1), constant.values.shape
    known = constant.quantisation
    return {"bias": Weight(values, constant.initializer, (0,), onnx_shape=shape, quantisation=known)}


def quantisation(constant: Constant, channels: int, axis: int) -> Quantisation | None:
    """The codes of a kernel of one scale, or one for each of its `channels` outputs, which lie at `axis`.

    Zero points are 0 wherever a byte holds code − zero point. None where the scales lie along another axis.
    """
    known = constant.quantisation
    if known is None or known.dtype not in ("int4", "int8"):
        return None
    if known.scale.size > 1 and constant.axis % constant.values.ndim != axis:
        return None
    scale, zeros = (
        np.broadcast_to(each.reshape(-1), (channels,)) for each in (known.scale, known.zero_points)
    )
    if zeros.any() and _bytes_hold(constant.values, scale, axis):
        zeros = np.zeros_like(zeros)
    return Quantisation(scale, zeros, known.dtype)


def _bytes_hold(values: Array, scale: Array, axis: int) -> bool:
    """Whether all values are codes from −128 to 127 times the scale of their channel."""
    others = tuple(other for other in range(values.ndim) if other != axis)
    most, least = values.max(others, initial=0), values.min(others, initial=0)
    return bool((most < 127.5 * scale).all() and (least > -128.5 * scale).all())


def kernel_order(kernel: Constant, last: tuple[int, int]) -> tuple[int, ...]:
    """The permutation that puts the image axes first and `last` behind them."""
    return (*range(2, kernel.values.ndim), *last)


def _kernel(constant: Constant) -> Weight:
    order, shape = kernel_order(constant, (1, 0)), constant.values.shape
    values = np.transpose(constant.values, order).reshape(*spatial_kernel(constant), shape[1], shape[0])
    return Weight(values, constant.initializer, order, None, shape, quantisation(constant, shape[0], 0))


def _depthwise_kernel(constant: Constant, channels: int) -> Weight:
    """(C·m, 1, kH, kW) → (kH, kW, C, m).

    TensorFlow orders outputs by channel, then multiplier, as ONNX does.
    """
    order, shape = kernel_order(constant, (0, 1)), constant.values.shape
    values = np.transpose(constant.values, order).reshape(*spatial_kernel(constant), channels, -1)
    return Weight(values, constant.initializer, order, None, shape, quantisation(constant, shape[0], 0))


PLANNERS: dict[str, OpPlanner] = {"Conv": plan_conv}
