"""RoiAlign: parts of an image's regions, as means or maxima of samples, in simpler operators.

Sources: the ONNX standard's definition and ONNX Runtime's kernel.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from edgepress.translate.ops.sampling import Field, as_rows, interpolated, product_of, shares_of
from edgepress.translate.planner import OpPlanner
from edgepress.translate.written_out import Sketch, Term, written


def _roi_align(s: Sketch) -> Term:
    """Means, or maxima, of samples within each part of each region."""
    if s.attribute("sampling_ratio", 0) < 1:
        return _adaptive(s)
    (_, channels, height, width), (count, _) = s.sizes(0), s.sizes(1)
    ratio, out = (
        s.attribute("sampling_ratio", 0),
        [s.attribute("output_height", 1), s.attribute("output_width", 1)],
    )
    starts, spans = _regions(s)
    places, inside = [], []
    for axis, size in enumerate((height, width)):
        steps = (np.arange(out[axis] * ratio) + 0.5) / (out[axis] * ratio)
        own = starts[axis] + spans[axis] * s.constant(steps.astype(np.float32)[None])
        shape = (count, out[0] * ratio, 1) if axis == 0 else (count, 1, out[1] * ratio)
        inside.append(((own >= -1) & (own <= size)).reshape(*shape))
        full = (count, out[0] * ratio, out[1] * ratio)
        places.append(own.clip(0, size - 1).reshape(*shape).expand(*full))
    first = s.operand(2).cast("int32").reshape(count, 1, 1) * (height * width)
    field = Field(as_rows(s.operand(0), s.sizes(0)), (height, width), "border", True)
    kept = (inside[0] & inside[1]).cast("float32").unsqueeze(-1)
    split = (count, out[0], ratio, out[1], ratio, channels)
    if s.attribute("mode", "avg") == "max":
        made = (_largest_corner(s, field, places, first) * kept).reshape(*split).reduce("ReduceMax", 2, 4)
    else:
        made = (interpolated(s, field, places, "linear", first) * kept).reshape(*split).sum(2, 4)
        made = made * (1 / ratio**2)
    return made.transpose(0, 3, 1, 2)


def _regions(s: Sketch) -> tuple[list[Term], list[Term]]:
    """Where each region begins, and how long it is, along both axes: (regions, 1)."""
    usual = "half_pixel" if s.opset >= 16 else "output_half_pixel"
    shift = 0.5 if s.attribute("coordinate_transformation_mode", usual) == "half_pixel" else 0.0
    scaled = s.operand(1) * float(s.attribute("spatial_scale", 1.0)) - shift
    starts, ends = ([scaled.cut(1, place, place + 1) for place in places] for places in ((1, 0), (3, 2)))
    spans = [end - start for start, end in zip(starts, ends, strict=True)]
    return starts, spans if shift else [s("Max", span, 1.0) for span in spans]


def _largest_corner(s: Sketch, field: Field, places: Sequence[Term], first: Term) -> Term:
    """Of the four neighbours, each times its share, the largest."""
    base = [s("Floor", place) for place in places]
    best: Term | None = None
    for chosen in itertools.product((0, 1), repeat=2):
        values, _ = field.at(s, [b + float(c) for b, c in zip(base, chosen, strict=True)], first)
        shares = [shares_of(s, p - b, "linear")[c] for p, b, c in zip(places, base, chosen, strict=True)]
        term = values * product_of(shares).unsqueeze(-1)
        best = term if best is None else s("Max", best, term)
    assert best is not None
    return best


# As many samples as a part has elements, which differ from region to region


def _adaptive(s: Sketch) -> Term:
    """A mean of samples on a grid is a mean along one axis of means along the other: two products."""
    if s.attribute("mode", "avg") == "max":
        raise s.refuse(
            "mode max with a sampling_ratio of 0, so that regions have different numbers of samples"
        )
    samples, _, *image = s.sizes(0)
    starts, spans = _regions(s)
    out = [s.attribute("output_height", 1), s.attribute("output_width", 1)]
    down, across = (_weights(s, *each) for each in zip(starts, spans, image, out, strict=True))
    x = s.operand(0) if samples == 1 else s.operand(0).take(s.operand(2).cast("int32").reshape(-1))
    wide = s("MatMul", x, across.transpose(0, 2, 1).unsqueeze(1))
    return s("MatMul", down.unsqueeze(1), wide)


def _weights(s: Sketch, start: Term, span: Term, size: int, parts: int) -> Term:
    """(regions, parts, size): how much each element counts in the mean of a part.

    Interpolation gives an element at r the share max(r + 1 − y, 0) − 2·max(r − y, 0) + max(r − 1 − y, 0) in a
    sample at y. Samples lie evenly, so that Σ max(t − y, 0) follows from how many of them are below t.
    """
    length = span / float(parts)
    count = s("Ceil", length).unsqueeze(-1)
    step = (length / s("Max", s("Ceil", length), 1.0)).unsqueeze(-1)
    numbers = s.constant(np.arange(parts, dtype=np.float32)[None])
    first = (start + length * numbers).unsqueeze(-1) + step * 0.5
    last = first + step * (count - 1.0)
    ends = s.constant(np.arange(-1, size + 1, dtype=np.float32).reshape(1, 1, -1))
    ahead = ends - first
    steps = s("Max", step, 1e-30)
    below = s("Max", s("Min", s("Ceil", ahead / steps), count), 0.0)
    sums = below * (ahead - step * (below - 1.0) * 0.5)
    rises = sums.cut(2, 1, size + 2) - sums.cut(2, 0, size + 1)
    shares = rises.cut(2, 1, size + 1) - rises.cut(2, 0, size)
    shares = _at_borders(s, shares, rises, below, (ahead, steps, count), size)
    elements = s.constant(np.arange(size, dtype=np.float32).reshape(1, 1, -1))
    near = (elements - 1.0 < last) & (elements + 1.0 > first)
    edge = np.zeros((1, 1, size), bool)
    edge[..., [0, -1]] = True
    kept = s("And", s("Or", near, s.constant(edge)), count > 0.0)
    return s.where(kept, shares, 0.0) / s("Max", count, 1.0)


def _at_borders(
    s: Sketch, shares: Term, rises: Term, below: Term, grid: tuple[Term, Term, Term], size: int
) -> Term:
    """Samples up to one element outside count for the element at the border, others not at all."""
    ahead, steps, count = grid
    outside = below.cut(2, 0, 1)
    up_to_end = s("Floor", ahead.cut(2, size + 1, size + 2) / steps) + 1.0
    inside = s("Max", s("Min", up_to_end, count), 0.0)
    if size == 1:
        return inside - outside
    begin = rises.cut(2, 1, 2) - outside
    end = inside - rises.cut(2, size - 1, size)
    middle = [shares.cut(2, 1, size - 1)] if size > 2 else []
    return s.concat([begin, *middle, end], 2)


PLANNERS: dict[str, OpPlanner] = {"RoiAlign": written(_roi_align)}
