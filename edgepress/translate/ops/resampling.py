"""Resize, Upsample, DepthToSpace and SpaceToDepth."""

from dataclasses import replace
from typing import Any

import numpy as np

from edgepress.translate.layout import channels_last
from edgepress.translate.ops.broadcast import ranked
from edgepress.translate.ops.interpolation import Sampling, nearest, outside, weighted
from edgepress.translate.ops.open_resampling import resampled
from edgepress.translate.ops.selection import gathered
from edgepress.translate.plan import Weight
from edgepress.translate.planner import Node, OpPlanner, Planner, Value, unsupported
from edgepress.translate.written_out import Sketch


def plan_resize(node: Node, planner: Planner) -> None:
    """By TFLite's kernels where they take the same samples, else axis by axis."""
    value = ranked(node, planner, planner.value(node.inputs[0]))
    sampling = _sampling(node, planner)
    if sampling.coordinates == "tf_crop_and_resize":
        _plan_crop(node, planner, value, sampling)
        return
    scales = _scales(node, planner, value, sampling)
    given = _given_scales(node, planner)
    is_open = planner.any_size and any(_is_open(node, planner, axis) for axis in scales)
    if not (is_open and _varies(given, sampling)) and _plan_native(node, planner, value, scales, sampling):
        return
    if is_open:
        _plan_open(node, planner, scales, sampling)
        return
    target = planner.shape(node.outputs[0])
    for axis, scale in scales.items():
        size, wanted = int(value.shape[axis] or 0), int(target[axis] or 0)
        if sampling.mode == "nearest":
            indices = nearest(sampling, size, wanted, scale)
            value = gathered(node, planner, value, axis, indices, f"sampled{axis}")
        else:
            value = _interpolated(node, planner, value, axis, weighted(sampling, size, wanted, scale))
    planner.emit(node, "identity", (value,), value.layout, minimum=value.minimum)


def _is_open(node: Node, planner: Planner, axis: int) -> bool:
    return any(planner.is_open(name, axis) for name in (node.inputs[0], node.outputs[0]))


def _varies(given: list[float] | None, sampling: Sampling) -> bool:
    """Whether TFLite may take other samples for other sizes than those at hand.

    Where sizes are rounded, their ratio is not the scale; and its nearest neighbours are other ones where a
    place is nearly half-way or whole (4% of all pairs of sizes, for floor(x / scale)).
    """
    if given is None:
        return sampling.mode == "nearest"
    return not all(float(scale).is_integer() for scale in given)


def _plan_open(node: Node, planner: Planner, scales: dict[int, float], sampling: Sampling) -> None:
    a, given = node.attributes, _given_scales(node, planner)
    if given is None and a.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise unsupported(node, "it keeps the ratio of sizes that are open")
    axes = [axis % len(planner.shape(node.inputs[0])) for axis in a.get("axes", range(len(given or scales)))]
    known = dict(zip(axes, given, strict=True)) if given is not None else {}
    sketch = Sketch(node, planner)
    sketch.plan([resampled(sketch, sampling, {axis: known.get(axis) for axis in scales})])


def _plan_crop(node: Node, planner: Planner, value: Value, sampling: Sampling) -> None:
    """A part of each axis, resized; what lies beyond the axis is a given number."""
    rank, a = len(value.shape), node.attributes
    axes = [axis % rank for axis in a.get("axes", range(rank))]
    spans = planner.constant(node, 1).values.reshape(2, -1).tolist()
    kept = np.ones([1] * rank, np.float32)
    for axis, start, end in zip(axes, *spans, strict=True):
        size, wanted = (planner.shape(name)[axis] for name in (node.inputs[0], node.outputs[0]))
        if (start, end) == (0, 1) and size == wanted:
            continue
        if size is None or wanted is None:
            raise unsupported(node, f"it resizes axis {axis}, whose size is open")
        given = (replace(sampling, span=(start, end)), size, wanted, wanted / size)
        beyond = outside(*given)
        kept = kept * (~beyond).reshape([-1 if i == axis else 1 for i in range(rank)])
        if sampling.mode == "nearest":
            value = gathered(node, planner, value, axis, nearest(*given), f"sampled{axis}")
        else:
            value = _interpolated(node, planner, value, axis, weighted(*given))
    value = replace(value, shape=planner.shape(node.outputs[0]))
    mask, fill = planner.literal(kept), planner.literal((1 - kept) * a.get("extrapolation_value", 0.0))
    for op, constant in (("mul", mask), ("add", fill)):
        weight = {
            "operand": planner.operand_weight(planner.literal(constant.values.astype(np.float32)), value)
        }
        if not kept.all():
            value = planner.emit_helper(node, op, (value,), op, value, weight, constant_first=False)
    planner.emit(node, "identity", (value,), value.layout)


def _sampling(node: Node, planner: Planner) -> Sampling:
    """The node's options; up to opset 10 samples are taken at floor(x / scale)."""
    a = node.attributes
    old = node.op == "Upsample" or planner.opset < 11
    sampling = Sampling(
        mode=a.get("mode", "nearest"),
        coordinates=a.get("coordinate_transformation_mode", "asymmetric" if old else "half_pixel"),
        rounding=a.get("nearest_mode", "floor" if old else "round_prefer_floor"),
        cubic=a.get("cubic_coeff_a", -0.75),
        inside_only=bool(a.get("exclude_outside", 0)),
        antialias=bool(a.get("antialias", 0)),
    )
    if (why := sampling.refusal()) is not None:
        raise unsupported(node, why)
    return sampling


def _scales(node: Node, planner: Planner, value: Value, sampling: Sampling) -> dict[int, float]:
    """The scale of each ONNX axis that is resized."""
    rank, target, a = len(value.shape), planner.shape(node.outputs[0]), node.attributes
    axes = [axis % rank for axis in a.get("axes", range(rank))]
    given, scales = _given_scales(node, planner), {}
    for place, axis in enumerate(axes):
        size, wanted = value.shape[axis], target[axis]
        if size is None or wanted is None:
            if given is None or given[place] != 1:
                raise unsupported(node, f"it resizes axis {axis}, whose size is open")
            continue
        scale = wanted / size if given is None else float(given[place])
        if (why := sampling.refusal_of(size, scale)) is not None:
            raise unsupported(node, why)
        if size != wanted or scale != 1:
            scales[axis] = scale
    if given is None and a.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        scales = _even(node, planner, value, axes)
    return scales


def _given_scales(node: Node, planner: Planner) -> list[float] | None:
    """The scales, or None where sizes are given."""
    index = 1 if node.op == "Upsample" or planner.opset < 11 else 2
    if node.has_input(index) and planner.constant(node, index).values.size:
        return [float(scale) for scale in planner.constant(node, index).values.reshape(-1)]
    scales: list[float] | None = node.attributes.get("scales")
    return scales


def _even(node: Node, planner: Planner, value: Value, axes: list[int]) -> dict[int, float]:
    """One scale for all axes, the smallest or largest that the wanted sizes ask for."""
    wanted = planner.integers(node, 3)
    ratios = [size / int(value.shape[axis] or 1) for axis, size in zip(axes, wanted, strict=True)]
    choose = min if node.attributes["keep_aspect_ratio_policy"] == "not_larger" else max
    return dict.fromkeys(axes, choose(ratios))


def _plan_native(
    node: Node, planner: Planner, value: Value, scales: dict[int, float], sampling: Sampling
) -> bool:
    """Write TFLite's own resize if it takes the same samples, and say whether."""
    if len(value.shape) != 4 or not set(scales) <= {2, 3} or sampling.mode == "cubic":
        return False
    sizes = [(int(value.shape[axis] or 0), int(planner.shape(node.outputs[0])[axis] or 0)) for axis in (2, 3)]
    if any(0 in pair for pair in sizes):
        return False
    spans = [(*pair, scales.get(axis, 1.0)) for axis, pair in zip((2, 3), sizes, strict=True)]
    found = sampling.native(spans)
    if found is None:
        return False
    value = planner.stored_as(node, value, channels_last(4))
    size = tuple(wanted for _, wanted in sizes)
    options: dict[str, Any] = {
        "size": size,
        "linear": sampling.mode == "linear",
        "align": found[0],
        "half": found[1],
    }
    planner.emit(node, "resized", (value,), value.layout, minimum=value.minimum, **options)
    return True


def _interpolated(
    node: Node, planner: Planner, value: Value, axis: int, table: tuple[np.ndarray, np.ndarray]
) -> Value:
    indices, weights = table
    shape = (*value.shape[:axis], indices.shape[1], *value.shape[axis + 1 :])
    like = replace(value, shape=shape, minimum=value.minimum if (weights >= 0).all() else None)
    parts = {"indices": Weight(indices.astype(np.int32)), "weights": Weight(weights.astype(np.float32))}
    position = value.layout.position(axis)
    return planner.emit_helper(node, "weighted", (value,), f"sampled{axis}", like, parts, axis=position)


def plan_depth_to_space(node: Node, planner: Planner) -> None:
    """TensorFlow's order of channels is ONNX's DCR; for CRD the channels are reordered before."""
    value = planner.stored_as(node, planner.value(node.inputs[0]), channels_last(4))
    block = node.attributes["blocksize"]
    if node.attributes.get("mode", "DCR") == "CRD":
        channels = int(value.shape[1] or 0)
        places = np.arange(channels).reshape(-1, block * block).T.reshape(-1)
        value = gathered(node, planner, value, 1, places, "reordered")
    planner.emit(node, "depth_to_space", (value,), value.layout, minimum=value.minimum, block=block)


def plan_space_to_depth(node: Node, planner: Planner) -> None:
    """TensorFlow's order of channels is ONNX's DCR; for CRD the channels are reordered after."""
    value = planner.stored_as(node, planner.value(node.inputs[0]), channels_last(4))
    block = node.attributes["blocksize"]
    if node.attributes.get("mode", "DCR") != "CRD":
        planner.emit(node, "space_to_depth", (value,), value.layout, minimum=value.minimum, block=block)
        return
    deep = planner.emit_helper(node, "space_to_depth", (value,), "deep", value, block=block)
    places = np.arange(int(value.shape[1] or 0) * block * block).reshape(block * block, -1).T.reshape(-1)
    order = {"indices": Weight(places.astype(np.int32))}
    planner.emit(node, "gather", (deep,), value.layout, order, value.minimum, axis=3)


PLANNERS: dict[str, OpPlanner] = {
    **dict.fromkeys(("Resize", "Upsample"), plan_resize),
    "DepthToSpace": plan_depth_to_space,
    "SpaceToDepth": plan_space_to_depth,
}
