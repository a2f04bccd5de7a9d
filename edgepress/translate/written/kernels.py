"""Conv with a computed kernel that TFLite's CONV_2D does not take: other axes, groups, holes."""

import itertools
import math
from collections.abc import Mapping

import numpy as np
import onnx

from edgepress.graph.view import attributes
from edgepress.translate.written.body import Body, Writer


def is_special(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether its kernel is computed, and not a dense one of images."""
    if node.input[1] in constants:
        return False
    given = attributes(node)
    both = all(max(given.get(name, [1])) > 1 for name in ("strides", "dilations"))
    return len(given.get("kernel_shape", [1, 1])) != 2 or given.get("group", 1) > 1 or both


def _conv(b: Body) -> None:
    """The elements under each tap, side by side, times the kernel as a matrix, for each group."""
    (made, own, *kernel), sizes, given = b.shape(1), b.shape(), b.attributes
    if None in (made, own, *kernel, *sizes[1:]):
        raise b.refused("its kernel is computed, and a size of it or of what it reads is open")
    taps, groups = [int(size or 1) for size in kernel], given.get("group", 1)
    if len(taps) == 1 and groups == 1:
        _of_sequence(b)
        return
    out, x = _taps(b, [int(size or 1) for size in sizes[2:]], taps)
    rows = int(own or 1) * math.prod(taps)
    columns = b("Reshape", x, np.array([0, groups, rows, math.prod(out)]))
    kernels = b("Reshape", b.inputs[1], np.array([groups, int(made or 1) // groups, rows]))
    result = b("MatMul", kernels, columns)
    shape = np.array([0, int(made or 1), *out])
    if not b.has(2):
        b.gives("Reshape", result, shape)
        return
    shift = b("Reshape", b.inputs[2], np.array([-1] + [1] * len(out)))
    b.gives("Add", b("Reshape", result, shape), shift)


def _of_sequence(b: Body) -> None:
    """A sequence is an image of height 1."""
    x, kernel = (b("Unsqueeze", name, np.array([2])) for name in b.inputs[:2])
    names = {"strides": [1], "dilations": [1]}
    options = {key: [1, *b.attributes.get(key, value)] for key, value in names.items()}
    auto, pads = b.attributes.get("auto_pad", "NOTSET"), b.attributes.get("pads", [0, 0])
    if auto == "NOTSET":
        options["pads"] = [0, pads[0], 0, pads[1]]
    size = int(b.shape(1)[2] or 1)
    more = b.inputs[2:3] if b.has(2) else []
    made = b("Conv", x, kernel, *more, kernel_shape=[1, size], auto_pad=auto, **options)
    b.gives("Squeeze", made, np.array([2]))


def _taps(b: Body, sizes: list[int], kernel: list[int]) -> tuple[list[int], str]:
    """The sizes of the output, and (N, C, taps, …): what lies under each tap."""
    count, x = len(sizes), b.inputs[0]
    strides, dilations = (b.attributes.get(key, [1] * count) for key in ("strides", "dilations"))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    before, behind = pads_of(b, sizes, reach, strides)
    if any(before + behind):
        x = b("Pad", x, np.array([0, 0, *before, 0, 0, *behind]), b.number(0))
    whole = [size + one + other for size, one, other in zip(sizes, before, behind, strict=True)]
    out = [(size - r) // s + 1 for size, r, s in zip(whole, reach, strides, strict=True)]
    parts, axes = [], np.arange(2, count + 2)
    for tap in itertools.product(*map(range, kernel)):
        start = np.array([t * d for t, d in zip(tap, dilations, strict=True)])
        end = start + (np.array(out) - 1) * strides + 1
        cut = b("Slice", x, start, end, axes, np.array(strides))
        parts.append(b("Unsqueeze", cut, np.array([2])))
    return out, b("Concat", *parts, axis=2) if len(parts) > 1 else parts[0]


def pads_of(b: Body, sizes: list[int], reach: list[int], strides: list[int]) -> tuple[list[int], list[int]]:
    """What a convolution adds before and behind each axis."""
    count, auto = len(sizes), b.attributes.get("auto_pad", "NOTSET")
    if not auto.startswith("SAME"):
        pads = b.attributes.get("pads", [0] * 2 * count) if auto == "NOTSET" else [0] * 2 * count
        return list(pads[:count]), list(pads[count:])
    totals = [
        max((-(-size // s) - 1) * s + r - size, 0) for size, r, s in zip(sizes, reach, strides, strict=True)
    ]
    less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return (less, more) if auto == "SAME_UPPER" else (more, less)


WRITERS: dict[str, Writer] = {"Conv": _conv}
