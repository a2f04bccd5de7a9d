"""Windows put back, cut out or looked up: Col2Im, MaxUnpool, MaxPool's places, MaxRoiPool, CenterCropPad."""

import math
from collections.abc import Sequence

import numpy as np

from edgepress.translate.ops import pooling
from edgepress.translate.ops.scattering import put_at, sum_at
from edgepress.translate.plan import Array
from edgepress.translate.planner import Node, OpPlanner, Planner
from edgepress.translate.written_out import Sketch, Term, written


def _spans(s: Sketch, rank: int) -> tuple[list[int], list[int], list[int]]:
    """Strides, pads before and after all axes, dilations."""
    defaults = (("strides", [1] * rank), ("pads", [0] * 2 * rank), ("dilations", [1] * rank))
    strides, pads, dilations = (list(s.attribute(name, default)) for name, default in defaults)
    return strides, pads, dilations


def _window_places(
    counts: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    image: Sequence[int],
) -> Array:
    """(taps, windows): the number of each window's elements in an image."""
    total = np.zeros((1, 1), np.int64)
    for count, taps, stride, dilation, size in zip(counts, kernel, strides, dilations, image, strict=True):
        own = np.arange(taps)[:, None] * dilation + np.arange(count) * stride
        total = (total[:, None, :, None] * size + own[None, :, None]).reshape(
            total.shape[0] * taps, total.shape[1] * count
        )
    return total


def _col2im(s: Sketch) -> Term:
    """Overlapping windows added up to the image that they were cut out of."""
    sizes = s.known(1), s.known(2)
    if sizes[0] is None or sizes[1] is None:
        raise s.refuse("its image_shape or block_shape is computed; they have to be constants")
    image, kernel = sizes[0].astype(int).tolist(), sizes[1].astype(int).tolist()
    samples, rows, windows = s.sizes(0)
    rank, taps = len(image), math.prod(kernel)
    strides, pads, dilations = _spans(s, rank)
    padded = [size + pads[i] + pads[i + rank] for i, size in enumerate(image)]
    counts = [
        (size - d * (k - 1) - 1) // stride + 1
        for size, d, k, stride in zip(padded, dilations, kernel, strides, strict=True)
    ]
    places = _window_places(counts, kernel, strides, dilations, padded)
    planes = samples * rows // taps
    values = s.operand(0).reshape(planes, taps * windows).transpose(1, 0)
    at = s.constant(places.reshape(-1, 1).astype(np.int32))
    whole = sum_at(s, at, values, (math.prod(padded), planes)).transpose(1, 0)
    whole = whole.reshape(samples, rows // taps, *padded)
    for axis, size in enumerate(image):
        if padded[axis] != size:
            whole = whole.cut(axis + 2, pads[axis], pads[axis] + size)
    return whole


def _max_unpool(s: Sketch) -> Term:
    """Maxima put where they were taken from.

    Places count in the image that is made. Where `output_shape` makes it another one than the windows do, the
    standard's own example counts in theirs, ONNX Runtime does not, and nor does MaxPool of such an image.
    """
    shape, kernel = s.sizes(0), s.attribute("kernel_shape")
    rank = len(kernel)
    strides, pads, _ = _spans(s, rank)
    own = [(size - 1) * strides[i] + kernel[i] - pads[i] - pads[i + rank] for i, size in enumerate(shape[2:])]
    count, full = math.prod(shape), (*shape[:2], *own)
    if s.has(2):
        target = s.known(2)
        full = s.result_sizes() if target is None else tuple(int(size) for size in target)
    places, new = s.operand(1).reshape(count).cast("int32"), s.operand(0).reshape(count, 1)
    rows = math.prod(full)
    apart = all(stride >= size for stride, size in zip(strides, kernel, strict=True))
    if apart:
        return sum_at(s, places.reshape(count, 1), new, (rows, 1)).reshape(*full)
    zeros = s.constant(np.zeros((rows, 1), np.float32))
    return put_at(s, places, new, zeros, (count, rows, 1)).reshape(*full)


def plan_max_pool(node: Node, planner: Planner) -> None:
    """With the places of the maxima, if they are read."""
    asked = len(node.outputs) > 1 and (
        planner.readers.get(node.outputs[1]) or node.outputs[1] in planner.outputs
    )
    (written(_max_pool_places) if asked else pooling.PLANNERS["MaxPool"])(node, planner)


def _max_pool_places(s: Sketch) -> list[Term]:
    """The largest of each window, and its number in the whole tensor; of equal ones the first."""
    samples, channels, *image = s.sizes(0)
    kernel, counts = s.attribute("kernel_shape"), list(s.result_sizes()[2:])
    rank = len(kernel)
    strides, pads, dilations = _spans(s, rank)
    mode = s.attribute("auto_pad", "NOTSET")
    for i in range(rank if mode.startswith("SAME") else 0):
        total = max((counts[i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 - image[i], 0)
        pads[i] = total // 2 if mode == "SAME_UPPER" else total - total // 2
    inside, places = np.ones((1, 1), bool), np.zeros((1, 1), np.int64)
    column = np.zeros((1, 1), np.int64)
    axes = range(rank)
    for i in axes:
        own = np.arange(counts[i])[:, None] * strides[i] + np.arange(kernel[i]) * dilations[i] - pads[i]
        inside = _crossed(inside, (own >= 0) & (own < image[i]), np.logical_and)
        kept = np.clip(own, 0, image[i] - 1)
        places = _crossed(places * image[i], kept, np.add)
        column = _crossed(column, kept * math.prod(image[:i]), np.add)
    planes, size, windows = samples * channels, math.prod(image), math.prod(counts)
    values = s.operand(0).reshape(planes, size).take(s.constant(places.astype(np.int32)), 1)
    values = values if inside.all() else s.where(s.constant(inside), values, _lowest(values.dtype))
    best, tap = s.several("TopK", 2, values, np.array([1]))
    named = column if s.attribute("storage_order", 0) else places
    number = tap.reshape(planes, windows) + s.constant(np.arange(windows) * named.shape[1])
    at = s.constant(named.reshape(-1)).take(number) + s.constant(np.arange(planes)[:, None] * size)
    shape = (samples, channels, *counts)
    return [best.reshape(*shape), at.reshape(*shape)]


def _crossed(old: Array, new: Array, join: np.ufunc) -> Array:
    """(windows, taps) of the axes so far with those of one more."""
    made = join(old[:, None, :, None], new[None, :, None, :])
    return np.asarray(made.reshape(old.shape[0] * new.shape[0], -1))


def _lowest(dtype: str) -> float | int:
    return float(np.finfo(dtype).min) if dtype.startswith("float") else int(np.iinfo(dtype).min)


_MOST_ELEMENTS = 1 << 24


def _max_roi_pool(s: Sketch) -> Term:
    """The largest element of each part of each region, whose rows and columns are masks."""
    (samples, channels, *image), (count, _) = s.sizes(0), s.sizes(1)
    out = s.attribute("pooled_shape")
    if count * channels * image[0] * image[1] * out[1] > _MOST_ELEMENTS:
        raise s.refuse(f"{count} regions of an image of {image[0]}x{image[1]} take too much memory")
    scaled = s("Floor", s.operand(1).cut(1, 1, 5) * float(s.attribute("spatial_scale", 1.0)) + 0.5)
    masks = []
    for axis, size in enumerate(image):
        start, end = (scaled.cut(1, place, place + 1) for place in (1 - axis, 3 - axis))
        step = s("Max", end - start + 1.0, 1.0) / float(out[axis])
        parts = s.constant(np.arange(out[axis], dtype=np.float32)[None])
        low = (s("Floor", step * parts) + start).clip(0, size).unsqueeze(-1)
        high = (s("Ceil", step * (parts + 1.0)) + start).clip(0, size).unsqueeze(-1)
        places = s.constant(np.arange(size, dtype=np.float32).reshape(1, 1, -1))
        masks.append((places >= low) & (places < high))
    number = s.operand(1).cut(1, 0, 1).cast("int32").reshape(count)
    x = s.operand(0).take(number) if samples > 1 else s.operand(0)
    held = min(samples, count) if samples > 1 else 1
    lowest = _lowest("float32")
    x = x.reshape(count if samples > 1 else held, channels, image[0], 1, image[1])
    across = masks[1].reshape(count, 1, 1, out[1], image[1])
    wide = s.where(across, x, lowest).reduce("ReduceMax", 4).unsqueeze(2)
    down = masks[0].reshape(count, 1, out[0], image[0], 1)
    made = s.where(down, wide, lowest).reduce("ReduceMax", 3)
    return s.where(made > lowest, made, 0.0)


def _center_crop_pad(s: Sketch) -> Term:
    """The middle of each axis, or the axis in the middle of zeros."""
    target = s.known(1)
    if target is None:
        raise s.refuse(f"its shape ({s.node.inputs[1]}) is computed; it has to be a constant")
    x, rank = s.operand(0), len(s.planner.shape(s.node.inputs[0]))
    axes = [axis % rank for axis in s.attribute("axes", range(rank))]
    before, after = [0] * rank, [0] * rank
    for axis, wanted in zip(axes, (int(each) for each in target), strict=True):
        size = s.size(0, axis)
        if wanted < size:
            start = (size - wanted) // 2
            x = x.cut(axis, start, start + wanted)
        before[axis] = max(wanted - size, 0) // 2
        after[axis] = max(wanted - size, 0) - before[axis]
    return s("Pad", x, np.array(before + after)) if any(before + after) else x


PLANNERS: dict[str, OpPlanner] = {
    "Col2Im": written(_col2im),
    "MaxUnpool": written(_max_unpool),
    "MaxPool": plan_max_pool,
    "MaxRoiPool": written(_max_roi_pool),
    "CenterCropPad": written(_center_crop_pad),
}
