"""Images at computed coordinates: GridSample, AffineGrid and DeformConv in simpler operators.

Sources: the ONNX standard's reference implementations and ONNX Runtime's kernels of these operators.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgepress.translate.planner import OpPlanner
from edgepress.translate.written_out import Sketch, Term, written


@dataclass(frozen=True)
class Field:
    """What is sampled: `rows`, an image's elements one below the other, its axes' sizes, and how.

    `padding` is zeros, border or reflection, at the outer edges of the elements, or with `corners` at their
    centres.
    """

    rows: Term
    sizes: Sequence[int]
    padding: str = "zeros"
    corners: bool = False

    def held(self, s: Sketch, place: Term, axis: int) -> Term:
        """A coordinate brought back into the image, unless what is beyond it is 0."""
        size = self.sizes[axis]
        if self.padding == "zeros":
            return place
        if self.padding == "reflection":
            place = _reflected(s, place, *((0, size - 1) if self.corners else (-0.5, size - 0.5)))
        return place.clip(0, size - 1)

    def at(self, s: Sketch, places: Sequence[Term], first: Term | None) -> tuple[Term, Term | None]:
        """The elements at whole coordinates, as rows, and where there are such; `first` is a row's number."""
        number, inside = first, None
        for axis, place in enumerate(places):
            size = self.sizes[axis]
            if self.padding == "zeros":
                own = (place >= 0) & (place <= size - 1)
                inside = own if inside is None else inside & own
            kept = self.held(s, place, axis).clip(0, size - 1).cast("int32")
            kept = kept * math.prod(self.sizes[axis + 1 :])
            number = kept if number is None else number + kept
        assert number is not None
        return self.rows.take(number), inside


def _reflected(s: Sketch, place: Term, low: float, high: float) -> Term:
    """There and back between two ends, as often as it takes."""
    span = high - low
    if span <= 0:
        return place * 0.0
    way = s("Abs", place - low)
    way = way - s("Floor", way / (2 * span)) * (2 * span)
    return s("Min", way, -way + 2 * span) + low


def interpolated(s: Sketch, field: Field, places: Sequence[Term], taps: str, first: Term | None) -> Term:
    """The image at these coordinates, one tensor for each axis, from its nearest elements, `taps`."""
    base = [s("Floor", place) for place in places]
    shares = [shares_of(s, place - floor, taps) for place, floor in zip(places, base, strict=True)]
    total: Term | None = None
    for chosen in itertools.product(range(len(shares[0])), repeat=len(places)):
        own = [floor + float(_offset(taps, number)) for floor, number in zip(base, chosen, strict=True)]
        share = product_of([shares[axis][number] for axis, number in enumerate(chosen)])
        values, inside = field.at(s, own, first)
        share = share if inside is None else share * inside.cast("float32")
        term = values * share.unsqueeze(-1)
        total = term if total is None else total + term
    assert total is not None
    return total


def _offset(taps: str, number: int) -> int:
    return number - 1 if taps == "cubic" else number


def product_of(terms: Sequence[Term]) -> Term:
    """Of tensors."""
    result = terms[0]
    for term in terms[1:]:
        result = result * term
    return result


_A = -0.75


def shares_of(s: Sketch, rest: Term, taps: str) -> list[Term]:
    """How much each neighbour counts: by distance, or by Keys' cubic convolution."""
    if taps == "linear":
        return [1.0 - rest, rest]

    def near(d: Term) -> Term:
        return (d * (_A + 2) - (_A + 3)) * d * d + 1.0

    def far(d: Term) -> Term:
        return ((d * _A - 5 * _A) * d + 8 * _A) * d - 4 * _A

    return [far(rest + 1.0), near(rest), near(1.0 - rest), far(2.0 - rest)]


def as_rows(x: Term, sizes: Sequence[int]) -> Term:
    """An image (N, C, …) with its channels in rows."""
    return x.transpose(0, *range(2, len(sizes)), 1).reshape(-1, sizes[1])


_MODES = {
    "linear": "linear",
    "bilinear": "linear",
    "cubic": "cubic",
    "bicubic": "cubic",
    "nearest": "nearest",
}


def _grid_sample(s: Sketch) -> Term:
    """An image at the places that a grid tells, from −1 to 1 along each axis, the last axis first."""
    (samples, channels, *spatial), grid = s.sizes(0), s.sizes(1)
    mode, corners = s.attribute("mode", "linear"), bool(s.attribute("align_corners", 0))
    count, taps = math.prod(grid[1:-1]), _MODES.get(mode, mode)
    if taps == "cubic" and len(spatial) != 2:
        raise s.refuse(f"mode {mode!r} of {len(spatial)} axes, which ONNX has of images alone")
    field = Field(as_rows(s.operand(0), s.sizes(0)), spatial, s.attribute("padding_mode", "zeros"), corners)
    flat, places = s.operand(1).reshape(samples, count, len(spatial)), []
    for axis, size in enumerate(spatial):
        place = len(spatial) - 1 - axis
        own = flat.cut(2, place, place + 1).reshape(samples, count)
        own = (own + 1.0) * 0.5 * float(size - 1) if corners else ((own + 1.0) * float(size) - 1.0) * 0.5
        own = _rounded(s, own) if taps == "nearest" else own
        places.append(field.held(s, own, axis) if taps != "cubic" else own)
    first = np.arange(samples, dtype=np.int32)[:, None] * math.prod(spatial)
    if taps == "nearest":
        made, inside = field.at(s, places, s.constant(first))
        made = made if inside is None else made * inside.cast("float32").unsqueeze(-1)
    else:
        made = interpolated(s, field, places, taps, s.constant(first))
    made = made.reshape(samples, *grid[1:-1], channels)
    return made.transpose(0, len(grid) - 1, *range(1, len(grid) - 1))


def _rounded(s: Sketch, x: Term) -> Term:
    """To the nearest whole number, and to the even one where two are as near."""
    up = s("Floor", x + 0.5)
    odd = up - s("Floor", up * 0.5) * 2.0
    return up - s.where((up - x).equals(0.5), odd, 0.0)


def _affine_grid(s: Sketch) -> Term:
    """Where a turned, scaled and shifted image of this size lies in another."""
    size, corners = s.known(1), bool(s.attribute("align_corners", 0))
    if size is None:
        return _computed_grid(s, corners)
    samples, _, *spatial = (int(each) for each in size)
    if corners and 1 in spatial:
        raise s.refuse(
            "align_corners along an axis of 1 element, which lies at −1 by the standard, at 1 in ONNX "
            "Runtime and at 0 in PyTorch"
        )
    axes = [_evenly(each, corners) for each in spatial]
    base = np.stack([*np.meshgrid(*axes, indexing="ij")[::-1], np.ones(spatial)], -1).astype(np.float32)
    points = s.constant(base.reshape(-1, len(spatial) + 1))
    return s("MatMul", points, s.operand(0).transpose(0, 2, 1)).reshape(samples, *spatial, len(spatial))


def _computed_grid(s: Sketch, corners: bool) -> Term:
    """Of computed sizes: each coordinate is a sum of shares of the axes, which meet by broadcasting."""
    samples, count, _ = s.sizes(0)
    theta, given = s.operand(0), s.operand(1).cast("int64")
    places = [_evenly_computed(s, given.take(np.int64(axis + 2)), corners) for axis in range(count)]
    total = theta.cut(2, count, count + 1).reshape(samples, *[1] * count, count)
    for axis, place in enumerate(places):
        column = count - 1 - axis  # the last axis is the first coordinate
        share = theta.cut(2, column, column + 1).reshape(samples, *[1] * count, count)
        total = share * place.reshape(*[1] * (axis + 1), -1, *[1] * (count - axis)) + total
    return total


def _evenly_computed(s: Sketch, size: Term, corners: bool) -> Term:
    """The places of so many elements from −1 to 1."""
    zero, one = s.constant(np.array(0)), s.constant(np.array(1))
    number, whole = s("Range", zero, size, one).cast("float32"), size.cast("float32")
    if not corners:
        return (number * 2.0 + 1.0) / whole - 1.0
    return number * 2.0 / s("Max", whole - 1.0, 1.0) - 1.0


def _evenly(size: int, corners: bool) -> np.ndarray:
    if corners:
        return np.linspace(-1, 1, size)
    return (np.arange(size) * 2 + 1) / size - 1


def _deform_conv(s: Sketch) -> Term:
    """A convolution whose kernel reads each element at a place of its own."""
    (samples, channels, height, width), (made, own, *kernel) = s.sizes(0), s.sizes(1)
    _, _, *out = s.result_sizes()
    parts, groups = s.attribute("offset_group", 1), s.attribute("group", 1)
    strides, pads, dilations = (
        s.attribute(name, [default] * count)
        for name, default, count in (("strides", 1, 2), ("pads", 0, 4), ("dilations", 1, 2))
    )
    taps, size = math.prod(kernel), (samples, parts, math.prod(kernel))
    moved = s.operand(2).reshape(samples, parts, taps, 2, *out)
    places = []
    for axis in range(2):
        steps = np.arange(out[axis]) * strides[axis] - pads[axis]
        steps = steps.reshape((-1, 1) if axis == 0 else (1, -1))
        tap = (np.arange(kernel[axis]) * dilations[axis]).reshape((-1, 1) if axis == 0 else (1, -1))
        grid = np.broadcast_to(tap, kernel).reshape(-1, 1, 1) + steps
        places.append(moved.cut(3, axis, axis + 1).reshape(*size, *out) + s.constant(grid.astype(np.float32)))
    wide = channels // parts
    rows = (
        s.operand(0).reshape(samples, parts, wide, height, width).transpose(0, 1, 3, 4, 2).reshape(-1, wide)
    )
    first = (np.arange(samples * parts, dtype=np.int32) * height * width).reshape(samples, parts, 1, 1, 1)
    values = interpolated(s, Field(rows, (height, width)), places, "linear", s.constant(first))
    if s.has(4):
        values = values * s.operand(4).reshape(*size, *out).unsqueeze(-1)
    values = values.transpose(0, 3, 4, 1, 5, 2).reshape(-1, groups, own * taps)
    weights = s.operand(1).reshape(groups, made // groups, own * taps).transpose(0, 2, 1)
    result = s("MatMul", values.transpose(1, 0, 2), weights).transpose(1, 0, 2).reshape(samples, *out, made)
    result = result + s.operand(3) if s.has(3) else result
    return result.transpose(0, 3, 1, 2)


PLANNERS: dict[str, OpPlanner] = {
    "GridSample": written(_grid_sample),
    "AffineGrid": written(_affine_grid),
    "DeformConv": written(_deform_conv),
}
