"""Functions of several elements of a tensor: along an axis, of windows, of matrices."""

import itertools
import math
from typing import Any

import numpy as np
from onnx import TensorProto

from edgepress.translate.written.body import Body, Writer


def _sizes(b: Body) -> list[int]:
    """The sizes of the first operand, 1 for an open batch."""
    return [1 if size is None else size for size in b.shape()]


def _cum_prod(b: Body) -> None:
    """By doubling: after k rounds each element is the product of the 2ᵏ that end with it."""
    x, axis = b.inputs[0], b.constant(1)
    if axis is None:
        raise b.refused(f"its input 1 ({b.inputs[1]}) is not a constant")
    rank, place, size = len(b.shape()), int(axis.item()) % len(b.shape()), _sizes(b)[int(axis.item())]
    sign = -1 if b.attributes.get("reverse", 0) else 1
    value = _moved(b, x, place, rank, sign) if b.attributes.get("exclusive", 0) else x
    for power in range((size - 1).bit_length()):
        value = b("Mul", value, _moved(b, value, place, rank, sign << power))
    b.gives("Identity", value)


def _moved(b: Body, x: str, axis: int, rank: int, by: int) -> str:
    """The elements moved along an axis, with 1 in their place."""
    pads = np.zeros(2 * rank, np.int64)
    pads[axis], pads[axis + rank] = by, -by
    return b("Pad", x, pads, b.number(1))


def _hardmax(b: Body) -> None:
    """1 at the first of the largest elements, else 0."""
    (x,) = b.inputs
    axis = b.attributes.get("axis", -1 if b.opset >= 13 else 1) % len(b.shape())
    largest = b("Equal", x, b.reduce("ReduceMax", x, [axis]))
    count = b("CumSum", b("Cast", largest, to=TensorProto.INT32), np.int64(axis))
    first = b("And", largest, b("Equal", count, np.int32(1)))
    b.gives("Cast", first, to=b.type())


def _lrn(b: Body) -> None:
    """x/(bias + alpha/size·Σ x²)^beta, with the sum over the channels around each."""
    (x,) = b.inputs
    given, size, channels = b.attributes, b.attributes["size"], _sizes(b)[1]
    rank, before = len(b.shape()), (size - 1) // 2
    pads = np.zeros(2 * rank, np.int64)
    pads[1], pads[rank + 1] = before, size - 1 - before
    squares = b("Pad", b("Mul", x, x), pads, b.number(0))
    views = [
        b("Slice", squares, *(np.array([n], np.int64) for n in (first, first + channels, 1)))
        for first in range(size)
    ]
    total = views[0] if size == 1 else b("Sum", *views)
    share = b("Mul", total, b.number(given.get("alpha", 1e-4) / size))
    spread = b("Pow", b("Add", share, b.number(given.get("bias", 1.0))), b.number(given.get("beta", 0.75)))
    b.gives("Div", x, spread)


def _lp_pool(b: Body) -> None:
    """(Σ |x|ᵖ)^(1/p) of each window: the mean, zeros around the image counted, times its places."""
    (x,) = b.inputs
    given, p = dict(b.attributes), b.attributes.get("p", 2)
    kernel = given["kernel_shape"]
    places = b.number(math.prod(kernel))
    named = ("auto_pad", "kernel_shape", "pads", "strides")
    kept: dict[str, Any] = {key: given[key] for key in named if key in given}
    if max(given.get("dilations", [1])) > 1:
        if b.opset < 19:
            raise b.refused("it has dilations, which pools have from opset 19 on")
        kept["dilations"] = given["dilations"]
    if given.get("ceil_mode", 0):
        kept["pads"] = _whole_windows(b, given)
    powers = b("Mul", x, x) if p == 2 else b("Pow", b("Abs", x), b.number(p))
    _gives_root(b, b("Mul", b("AveragePool", powers, count_include_pad=1, **kept), places), p)


def _global_lp_pool(b: Body) -> None:
    """(Σ |x|ᵖ)^(1/p) of the whole image."""
    (x,) = b.inputs
    p, places = b.attributes.get("p", 2), b.number(math.prod(_sizes(b)[2:]))
    powers = b("Mul", x, x) if p == 2 else b("Pow", b("Abs", x), b.number(p))
    _gives_root(b, b("Mul", b("GlobalAveragePool", powers), places), p)


def _gives_root(b: Body, total: str, p: int) -> None:
    if p == 1:
        b.gives("Identity", total)
    elif p == 2:
        b.gives("Sqrt", total)
    else:
        b.gives("Pow", total, b.number(1 / p))


def _whole_windows(b: Body, given: dict[str, list[int]]) -> list[int]:
    """Pads with which the last window, that ceil_mode adds, is whole."""
    kernel, image = given["kernel_shape"], _sizes(b)[2:]
    count = len(kernel)
    pads = list(given.get("pads", [0] * 2 * count))
    strides, dilations = (given.get(key, [1] * count) for key in ("strides", "dilations"))
    for axis, (size, k, s, d) in enumerate(zip(image, kernel, strides, dilations, strict=True)):
        left = size + pads[axis] + pads[axis + count] - (d * (k - 1) + 1)
        pads[axis + count] += -left % s if -(-left // s) * s < size + pads[axis] else 0
    return pads


def _det(b: Body) -> None:
    """By minors: those of the last k rows, for each choice of k columns, follow from those of k − 1."""
    (x,) = b.inputs
    rank, n = len(b.shape()), _sizes(b)[-1]
    if n > _LARGEST_DETERMINANT:
        raise b.refused(f"its matrices have {n} rows; expected at most {_LARGEST_DETERMINANT}")

    def element(row: int, column: int) -> str:
        line = b("Gather", x, np.int64(row), axis=rank - 2)
        return b("Gather", line, np.int64(column), axis=rank - 2)

    minors: dict[tuple[int, ...], str] = {(column,): element(n - 1, column) for column in range(n)}
    for row in reversed(range(n - 1)):
        larger = dict[tuple[int, ...], str]()
        for columns in itertools.combinations(range(n), n - row):
            terms = [
                b("Mul", element(row, column), minors[tuple(c for c in columns if c != column)])
                for column in columns
            ]
            signed = [b("Neg", term) if place % 2 else term for place, term in enumerate(terms)]
            larger[columns] = b("Sum", *signed)
        minors = larger
    b.gives("Identity", minors[tuple(range(n))])


_LARGEST_DETERMINANT = 5

WRITERS: dict[str, Writer] = {
    "CumProd": _cum_prod,
    "Hardmax": _hardmax,
    "LRN": _lrn,
    "LpPool": _lp_pool,
    "GlobalLpPool": _global_lp_pool,
    "Det": _det,
}
