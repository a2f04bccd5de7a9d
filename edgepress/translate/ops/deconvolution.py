"""ConvTranspose, 1-D and 2-D."""

from typing import Any

import numpy as np

from edgepress.translate.layout import channels_last
from edgepress.translate.ops.convolution import (
    as_image,
    as_sequence,
    bias,
    kernel_order,
    quantisation,
    spatial_kernel,
)
from edgepress.translate.plan import Array, Weight
from edgepress.translate.planner import Constant, Node, OpPlanner, Planner, Value, unsupported

Pads = list[tuple[int, int]]


def plan_conv_transpose(node: Node, planner: Planner) -> None:
    """Kernel (I, O/g, kH, kW) → (kH, kW, O/g, I); the full product is cropped to ONNX's pads."""
    kernel, a = planner.constant(node, 1), node.attributes
    groups = a.get("group", 1)
    value = as_image(node, planner, kernel)
    if None in value.shape[2:]:
        raise unsupported(node, f"the image size {value.shape[2:]} is not fixed")
    strides, extra, dilations = (_pair(a.get(k), d) for k, d in _OPTIONS)
    weight = _kernel(kernel, dilations)
    extent = weight.values.shape[:2]
    sizes = [int(size or 0) for size in value.shape[2:]]
    pads = _pads(node, sizes, extent, strides, extra)
    same = _same(extent, strides, extra, pads)
    grown = [min(e, s - 1) for e, s in zip(extra, strides, strict=True)]
    full = [
        n * s if same else (n - 1) * s + k + g
        for n, s, k, g in zip(sizes, strides, extent, grown, strict=True)
    ]
    options = {
        "strides": strides,
        "padding": "SAME" if same else "VALID",
        "size": tuple(full),
        "groups": groups,
        "extra": tuple(grown),
    }
    weights = {"kernel": weight, **bias(node, planner)}
    missing = [(0, e - g) for e, g in zip(extra, grown, strict=True)]
    _cropped(node, planner, value, weights, options, [(0, 0)] * 2 if same else pads, missing)


_OPTIONS = (("strides", 1), ("output_padding", 0), ("dilations", 1))


def _cropped(
    node: Node,
    planner: Planner,
    value: Value,
    weights: dict[str, Weight],
    options: dict[str, Any],
    pads: Pads,
    missing: Pads,
) -> None:
    """The step, and the pads that are cut off it or, where negative, added."""
    cut = [(before, after - more) for (before, after), (_, more) in zip(pads, missing, strict=True)]
    grown = [(max(-before, 0), max(-after, 0)) for before, after in cut]
    if any(map(any, grown)) and "bias" in weights:
        raise unsupported(node, f"it has a bias and an output {grown} larger than what its kernel reaches")
    chain: list[tuple[str, dict[str, Any]]] = [("conv_transpose", options)]
    if max(map(max, cut)) > 0:
        begin = (None, *(max(before, 0) for before, _ in cut), None)
        end = (None, *(min(-after, 0) or None for _, after in cut), None)
        chain.append(("cut", {"begin": begin, "end": end, "strides": (1,) * 4}))
    if any(map(any, grown)):
        chain.append(("pad", {"pads": ((0, 0), *grown, (0, 0)), "fill": 0.0}))
    _emit_chain(node, planner, value, weights, chain)


def _emit_chain(
    node: Node,
    planner: Planner,
    value: Value,
    weights: dict[str, Weight],
    chain: list[tuple[str, dict[str, Any]]],
) -> None:
    """One step after the other, the first with the weights, and a sequence's last axis at the end."""
    sequence = len(planner.shape(node.outputs[0])) == 3
    for place, (op, options) in enumerate(chain):
        parts = weights if place == 0 else None
        if place == len(chain) - 1 and not sequence:
            planner.emit(node, op, (value,), channels_last(4), parts, **options)
            return
        value = planner.emit_helper(node, op, (value,), f"part{place}", value, parts, **options)
    as_sequence(node, planner, value)


def _pads(
    node: Node, sizes: list[int], extent: tuple[int, ...], strides: tuple[int, ...], extra: tuple[int, ...]
) -> Pads:
    """What ONNX cuts off before and after each image axis."""
    a = node.attributes
    auto, wanted = a.get("auto_pad", "NOTSET"), a.get("output_shape")
    if wanted is None and auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [n * s for n, s in zip(sizes, strides, strict=True)][-len(a.get("kernel_shape", sizes)) :]
    if wanted is None:
        flat = a.get("pads", [0, 0] * len(sizes)) if auto == "NOTSET" else [0, 0] * len(sizes)
        half = len(flat) // 2
        pads = list(zip(flat[:half], flat[half:], strict=True))
        return [(0, 0)] * (2 - half) + pads
    pads = []
    target = [1] * (2 - len(wanted)) + list(wanted)
    for n, k, s, e, w in zip(sizes, extent, strides, extra, target, strict=True):
        total = (n - 1) * s + e + k - w
        less, more = total // 2, total - total // 2
        pads.append((less, more) if auto == "SAME_UPPER" else (more, less))
    return pads


def _same(extent: tuple[int, ...], strides: tuple[int, ...], extra: tuple[int, ...], pads: Pads) -> bool:
    """Whether TensorFlow's SAME cuts off just these pads."""
    totals = [k - s for k, s in zip(extent, strides, strict=True)]
    return not any(extra) and all(
        total >= 0 and pad == (total // 2, total - total // 2)
        for total, pad in zip(totals, pads, strict=True)
    )


def _pair(given: list[int] | None, default: int) -> tuple[int, int]:
    values = [default, default] if given is None else [default] * (2 - len(given)) + list(given)
    return values[0], values[1]


def _kernel(constant: Constant, dilations: tuple[int, ...]) -> Weight:
    order, shape = kernel_order(constant, (1, 0)), constant.values.shape
    values = np.transpose(constant.values, order).reshape(*spatial_kernel(constant), shape[1], shape[0])
    scales = quantisation(constant, shape[1], 1)
    if max(dilations) > 1:
        return Weight(_dilated(values, dilations), quantisation=scales)
    return Weight(values, constant.initializer, order, None, shape, scales)


def _dilated(values: Array, dilations: tuple[int, ...]) -> Array:
    """The kernel with its holes written out as zeros: TFLite's has no dilation."""
    spans = [(k - 1) * d + 1 for k, d in zip(values.shape[:2], dilations, strict=True)]
    wide = np.zeros((*spans, *values.shape[2:]), values.dtype)
    wide[:: dilations[0], :: dilations[1]] = values
    return wide


PLANNERS: dict[str, OpPlanner] = {"ConvTranspose": plan_conv_transpose}
