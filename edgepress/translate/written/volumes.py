"""ConvTranspose of volumes, or with a computed kernel: a convolution with zeros between elements."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from edgepress.translate.plan import Array
from edgepress.translate.reading import Shape
from edgepress.translate.written.body import Body, Writer


def is_special(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether its kernel is computed, or one for volumes."""
    return node.input[1] not in constants or len(constants[node.input[1]].dims) == 5


def _conv_transpose(b: Body) -> None:
    """The kernel (I, O/g, …) turned around, and its first two axes swapped within each group."""
    coded, given, sizes = b.codes(1), b.attributes, b.shape()[2:]
    kernel = b.constant(1) if coded is None else coded[0]
    taps = b.shape(1) if kernel is None else kernel.shape
    if None in (*taps, *sizes):
        raise b.refused("a size of its kernel, or of what it reads, is open")
    count, groups = len(sizes), given.get("group", 1)
    strides, dilations, extra = (
        given.get(key, [default] * count)
        for key, default in (("strides", 1), ("dilations", 1), ("output_padding", 0))
    )
    reach = [(int(k or 1) - 1) * d + 1 for k, d in zip(taps[2:], dilations, strict=True)]
    pads = _pads(b, [int(size or 1) for size in sizes], reach, strides, extra)
    x = b.inputs[0]
    for axis, stride in enumerate(strides):
        x = _spread(b, x, axis + 2, stride, count + 2)
    around = np.zeros((2, count + 2), np.int64)
    for axis in range(count):
        around[0, axis + 2] = reach[axis] - 1 - pads[axis]
        around[1, axis + 2] = reach[axis] - 1 - pads[axis + count] + extra[axis] - (strides[axis] - 1)
    x = b("Pad", x, around.reshape(-1), b.number(0))
    shape = [int(size or 1) for size in taps[2:]]
    turned: Any = _turned(b, taps, groups) if kernel is None else turned_around(kernel, groups)
    if coded is not None:
        scales = [np.tile(each, groups) if each.size > 1 else each for each in coded[1:3]]
        turned = b("DequantizeLinear", turned, *scales, axis=0)
    more = [b.inputs[2]] if b.has(2) else []
    b.gives("Conv", x, turned, *more, kernel_shape=shape, group=groups, dilations=list(dilations))


def turned_around(kernel: Array, groups: int) -> Array:
    """(I, O/g, …) → (O, I/g, …), each tap where the last one was."""
    flipped = np.flip(kernel, tuple(range(2, kernel.ndim)))
    return np.concatenate([np.swapaxes(part, 0, 1) for part in np.split(flipped, groups)])


def _turned(b: Body, taps: Shape, groups: int) -> str:
    """The same of a computed one."""
    channels, own, *shape = (int(size or 1) for size in taps)
    turned = b.inputs[1]
    for axis, size in enumerate(shape, 2):
        turned = b("Gather", turned, np.arange(size)[::-1].copy(), axis=axis) if size > 1 else turned
    parts = b("Reshape", turned, np.array([groups, channels // groups, own, *shape]))
    order = [0, 2, 1, *range(3, len(taps) + 1)]
    return b(
        "Reshape", b("Transpose", parts, perm=order), np.array([groups * own, channels // groups, *shape])
    )


def _pads(b: Body, sizes: list[int], reach: list[int], strides: list[int], extra: list[int]) -> list[int]:
    given, count = b.attributes, len(sizes)
    auto, wanted = given.get("auto_pad", "NOTSET"), given.get("output_shape")
    if wanted is None and auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [size * stride for size, stride in zip(sizes, strides, strict=True)]
    if wanted is None:
        return list(given.get("pads", [0] * 2 * count)) if auto == "NOTSET" else [0] * 2 * count
    before, behind = [], []
    for n, k, s, e, w in zip(sizes, reach, strides, extra, wanted, strict=True):
        total = (n - 1) * s + e + k - w
        less, more = total // 2, total - total // 2
        before.append(less if auto == "SAME_UPPER" else more)
        behind.append(more if auto == "SAME_UPPER" else less)
    return before + behind


def _spread(b: Body, x: str, axis: int, stride: int, rank: int) -> str:
    """Each element along an axis followed by stride − 1 zeros."""
    if stride == 1:
        return x
    pads = np.zeros((2, rank + 1), np.int64)
    pads[1, axis + 1] = stride - 1
    apart = b("Pad", b("Unsqueeze", x, np.array([axis + 1])), pads.reshape(-1), b.number(0))
    behind = [int(size or 1) for size in b.shape()[axis + 1 :]]
    return b("Reshape", apart, np.array([0] * axis + [-1, *behind], np.int64))


WRITERS: dict[str, Writer] = {"ConvTranspose": _conv_transpose}
