"""Pools of sequences, images and volumes; TFLite's own kernels where they compute the same."""

from dataclasses import replace
from typing import Any

import numpy as np

from edgepress.translate.layout import channels_last
from edgepress.translate.ops.padding import Window, pad_mode, window
from edgepress.translate.plan import Array, Weight
from edgepress.translate.planner import Node, OpPlanner, Planner, Value, unsupported
from edgepress.translate.written_out import Sketch, Term

_LOWEST = -3.4028234663852886e38
_MOST_VIEWS = 128
"""A pool without a kernel of its own is written out place by place, up to so many of them."""


def plan_max_pool(node: Node, planner: Planner) -> None:
    """Explicit padding takes the operand's proven minimum, which then never wins wrongly."""
    if len(node.outputs) > 1 and node.outputs[1]:
        raise unsupported(node, "its output of indices has no translation")
    value = _stored(node, planner)
    w = _covering(node, planner, value)
    minimum = value.minimum
    native = len(w.kernel) == 2 and max(w.dilations) == 1
    mode = pad_mode(planner, value, w)
    if native and mode is not None and _is_float(node, planner):
        _emit_native(node, planner, "max_pool", value, w, mode)
        return
    value = _padded_below(node, planner, value, w)
    if native and _is_float(node, planner):
        _emit_native(node, planner, "max_pool", replace(value, minimum=minimum), w, "VALID")
    else:
        _emit_views(node, planner, "max_of_views", replace(value, minimum=minimum), w)


def plan_average_pool(node: Node, planner: Planner) -> None:
    """TensorFlow's SAME averages over the image alone; other padding is a step, and its share a factor."""
    value, counted = _stored(node, planner), bool(node.attributes.get("count_include_pad", 0))
    w = _covering(node, planner, value)
    if _takes_all(node, value, w, counted):
        _plan_global(node, planner, value, "mean")
        return
    native = len(w.kernel) == 2 and max(w.dilations) == 1
    mode = pad_mode(planner, value, w)
    if native and mode is not None and not (mode == "SAME" and counted):
        _emit_native(node, planner, "average_pool", value, w, mode)
        return
    own = window(node, value, w.kernel).pads
    if planner.any_size and any(map(any, w.pads)) and not (counted and w.pads == own):
        sketch = Sketch(node, planner)
        sketch.plan([_open_mean(sketch, w, own, counted)])
        return
    share = _share(node, value, w, counted)
    value = _padded(node, planner, value, w, 0.0)
    plain_share = bool((share == share.flat[0]).all()) and np.isclose(share.flat[0] * np.prod(w.kernel), 1)
    if native and plain_share:
        _emit_native(node, planner, "average_pool", value, w, "VALID")
    elif native:
        options: dict[str, Any] = {"size": w.kernel, "strides": w.strides, "padding": "VALID"}
        mean = planner.emit_helper(node, "average_pool", (value,), "mean", value, **options)
        factor = {"operand": Weight(share * np.float32(np.prod(w.kernel)))}
        planner.emit(node, "mul", (mean,), value.layout, factor, constant_first=False)
    else:
        _emit_views(node, planner, "sum_of_views", value, w, {"share": Weight(share)})


def _open_mean(s: Sketch, w: Window, own: tuple[tuple[int, int], ...], counted: bool) -> Term:
    """The mean of what is in each window of an image whose size is open, padding beyond `own` left out."""
    if max(w.dilations) > 1:
        raise s.refuse("it pads an image whose size is open, with dilations")
    spatial = s.sizes(0)[2:]
    w = _of_axes(w, len(spatial))
    before, after = ([pad[end] for pad in w.pads] for end in (0, 1))
    x = s("Pad", s.operand(0), np.array([0, 0, *before, 0, 0, *after], np.int64))
    mean = s("AveragePool", x, kernel_shape=list(w.kernel), strides=list(w.strides))
    for axis, (n, o, k, stride, pad, given) in enumerate(
        zip(spatial, s.result_sizes()[2:], w.kernel, w.strides, w.pads, own[-len(spatial) :], strict=True)
    ):
        first = s.held(np.arange(o, dtype=np.int32)) * stride - pad[0]
        low, high = (-given[0], n + given[1]) if counted else (0, n)
        end, start = s("Min", first + k, s.held(np.int32(high))), s("Max", first, low)
        share = (end - start).cast("float32")
        mean = mean * (float(k) / share).reshape(-1, *[1] * (len(spatial) - axis - 1))
    return mean


def _of_axes(w: Window, count: int) -> Window:
    """The window along the last axes alone: a sequence has no height."""
    return replace(w, kernel=w.kernel[-count:], strides=w.strides[-count:], pads=w.pads[-count:])


def plan_global_pool(node: Node, planner: Planner) -> None:
    """The mean or maximum over the image axes, all kept with size 1."""
    value = _stored(node, planner)
    _plan_global(node, planner, value, "mean" if node.op == "GlobalAveragePool" else "maximum")


def _plan_global(node: Node, planner: Planner, value: Value, op: str) -> None:
    axes = tuple(range(1, len(value.shape) - 1))
    planner.emit(node, op, (value,), value.layout, minimum=value.minimum, axes=axes, keepdims=True)


def _takes_all(node: Node, value: Value, w: Window, counted: bool) -> bool:
    """Whether there is one window, which holds all of the image, and no padding counts."""
    if counted and any(any(pad) for pad in window(node, value, w.kernel).pads):
        return False
    axes = zip(value.shape[2:], _outputs(value, w), w.kernel, w.dilations, w.pads, strict=True)
    return all(n and o == 1 and (d == 1 or n == 1) and k - pad[0] >= n for n, o, k, d, pad in axes)


def _stored(node: Node, planner: Planner) -> Value:
    """The operand with its channels last."""
    value = planner.value(node.inputs[0])
    if len(value.shape) not in (3, 4, 5):
        raise unsupported(node, f"its operand has rank {len(value.shape)}; expected 3, 4 or 5")
    return planner.stored_as(node, value, channels_last(len(value.shape)))


def _covering(node: Node, planner: Planner, value: Value) -> Window:
    """The window, padded at the end as far as its last place reaches (`ceil_mode`), or cropped there."""
    w = window(node, value, tuple(node.attributes["kernel_shape"]))
    if not node.attributes.get("ceil_mode", 0):
        return w
    pads = []
    outputs = planner.shape(node.outputs[0])[2:]
    for n, o, k, s, d, (before, after) in zip(
        value.shape[2:], outputs, w.kernel, w.strides, w.dilations, w.pads, strict=True
    ):
        assert n is not None
        assert o is not None
        if planner.any_size and s > 1:
            if after + s - 1 >= (k - 1) * d + 1:
                raise unsupported(node, "ceil_mode with windows that may begin behind an image of open size")
            pads.append((before, after + s - 1))
            continue
        pads.append((before, max(after, (o - 1) * s + (k - 1) * d + 1 - n - before)))
    return replace(w, pads=tuple(pads))


def _outputs(value: Value, w: Window) -> tuple[int, ...]:
    """How many windows fit along each axis."""
    return tuple(
        (int(n or 0) + sum(pad) - (k - 1) * d - 1) // s + 1
        for n, k, s, d, pad in zip(value.shape[2:], w.kernel, w.strides, w.dilations, w.pads, strict=True)
    )


def _emit_native(node: Node, planner: Planner, op: str, value: Value, w: Window, mode: str | None) -> None:
    planner.emit(
        node,
        op,
        (value,),
        channels_last(4),
        minimum=value.minimum,
        size=w.kernel,
        strides=w.strides,
        padding=mode,
    )


def _emit_views(
    node: Node,
    planner: Planner,
    op: str,
    value: Value,
    w: Window,
    weights: dict[str, Weight] | None = None,
) -> None:
    if np.prod(w.kernel) > _MOST_VIEWS:
        raise unsupported(node, f"a window of {w.kernel} with dilations {w.dilations} is too large")
    options: dict[str, Any] = {"size": w.kernel, "strides": w.strides, "dilations": w.dilations}
    outputs = tuple(int(size or 0) for size in planner.shape(node.outputs[0])[2:])
    planner.emit(node, op, (value,), value.layout, weights, value.minimum, outputs=outputs, **options)


def _padded(node: Node, planner: Planner, value: Value, w: Window, fill: float) -> Value:
    if not any(any(pad) for pad in w.pads):
        return value
    pads = ((0, 0), *w.pads, (0, 0))
    low = None if value.minimum is None else min(value.minimum, fill)
    return replace(planner.emit_between(node, "pad", value, "padded", pads=pads, fill=fill), minimum=low)


def _padded_below(node: Node, planner: Planner, value: Value, w: Window) -> Value:
    """Padded with what never wins; of codes that is the lowest one."""
    if not _is_float(node, planner):
        return _padded(node, planner, value, w, float(np.iinfo(planner.dtype(node.inputs[0])).min))
    return _padded(node, planner, value, w, _LOWEST if value.minimum is None else value.minimum)


def _share(node: Node, value: Value, w: Window, counted: bool) -> Array:
    """1/elements in each window's mean, (1, *outputs, 1); the padding beyond ONNX's own never counts."""
    own = window(node, value, w.kernel).pads
    total = np.ones((), np.float64)
    counts = []
    outputs = _outputs(value, w)
    for n, o, k, s, d, pad, given in zip(
        value.shape[2:], outputs, w.kernel, w.strides, w.dilations, w.pads, own, strict=True
    ):
        places = np.arange(o)[:, None] * s + np.arange(k) * d - pad[0]
        low, high = (-given[0], int(n or 0) + given[1]) if counted else (0, int(n or 0))
        counts.append(((places >= low) & (places < high)).sum(axis=1))
    for count in counts:
        total = total[..., None] * count
    share: Array = (1 / total).astype(np.float32)[None, ..., None]
    return share


def _is_float(node: Node, planner: Planner) -> bool:
    return np.dtype(planner.dtype(node.inputs[0])).kind == "f"


PLANNERS: dict[str, OpPlanner] = {
    "MaxPool": plan_max_pool,
    "AveragePool": plan_average_pool,
    "GlobalAveragePool": plan_global_pool,
    "GlobalMaxPool": plan_global_pool,
}
