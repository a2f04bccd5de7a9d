"""Resize of axes whose sizes are open: which samples are taken is computed as the network runs."""

from collections.abc import Mapping

import numpy as np

from edgepress.translate.ops.interpolation import Sampling
from edgepress.translate.written_out import Sketch, Term


def resampled(s: Sketch, sampling: Sampling, scales: Mapping[int, float | None]) -> Term:
    """The node's operand with these axes resized, by a scale or, for None, to the size of the result.

    In float32 and in ONNX Runtime's order, since roundings decide which sample is the nearest one.
    """
    if sampling.antialias:
        raise s.refuse("it smooths (antialias) an axis whose size is open")
    x, sizes, targets = s.operand(0), s.sizes(0), s.result_sizes()
    for axis, scale in scales.items():
        size, wanted = (s.held(np.float32(each)) for each in (sizes[axis], targets[axis]))
        counting = s.held(np.arange(targets[axis], dtype=np.int32)).cast("float32")
        places = _coordinates(s, sampling, counting, (size, wanted, scale))
        if sampling.mode == "nearest":
            x = x.take(_inside(_rounded(s, places, sampling.rounding), size), axis)
        else:
            shape = [-1, *[1] * (len(sizes) - axis - 1)]
            x = _mixed(s, sampling, x, (places, size), axis, shape)
    return x


def _coordinates(s: Sketch, sampling: Sampling, x: Term, span: tuple[Term, Term, float | None]) -> Term:
    """Where new samples lie among the old ones (ONNX, operator Resize)."""
    size, wanted, given = span
    scale = wanted / size if given is None else given
    if sampling.coordinates == "asymmetric":
        return x / scale
    if sampling.coordinates == "tf_half_pixel_for_nn":
        return (x + 0.5) / scale
    if sampling.coordinates == "align_corners":
        return x * (size - 1.0) / s("Max", wanted - 1.0, 1.0)
    centred = (x + 0.5) / scale - 0.5
    if sampling.coordinates == "pytorch_half_pixel":
        return s.where(wanted > 1.0, centred, 0.0)
    if sampling.coordinates == "half_pixel_symmetric":
        return centred + size * 0.5 * (1.0 - wanted / (size * scale))
    return centred


def _rounded(s: Sketch, x: Term, how: str) -> Term:
    if how == "round_prefer_floor":
        return s("Ceil", x - 0.5)
    if how == "round_prefer_ceil":
        return s("Floor", x + 0.5)
    return s("Ceil" if how == "ceil" else "Floor", x)


def _inside(places: Term, size: Term) -> Term:
    """Whole numbers as places along an axis: those beyond it are its first or last."""
    return places.sketch("Min", places.sketch("Max", places, 0.0), size - 1.0).cast("int32")


def _mixed(
    s: Sketch, sampling: Sampling, x: Term, where: tuple[Term, Term], axis: int, shape: list[int]
) -> Term:
    """Two or four neighbours, weighted by how far away they are."""
    places, size = where
    base = s("Floor", places)
    ratio = places - base
    if sampling.mode == "linear":
        weights = {0: 1.0 - ratio, 1: ratio}
    else:
        a = sampling.cubic
        weights = {
            -1: _far(ratio + 1.0, a),
            0: _near(ratio, a),
            1: _near(1.0 - ratio, a),
            2: _far(2.0 - ratio, a),
        }
    if sampling.inside_only:
        weights = _normalised(s, weights, base, size)
    parts = [
        x.take(_inside(base + float(offset), size), axis) * weight.reshape(*shape)
        for offset, weight in weights.items()
    ]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _normalised(s: Sketch, weights: Mapping[int, Term], base: Term, size: Term) -> dict[int, Term]:
    """Weights of what lies inside alone, whose sum is 1."""
    kept = {
        offset: s.where((base + float(offset) >= 0.0) & (base + float(offset) < size), weight, 0.0)
        for offset, weight in weights.items()
    }
    total, *others = kept.values()
    for other in others:
        total = total + other
    return {offset: weight / total for offset, weight in kept.items()}


def _near(d: Term, a: float) -> Term:
    """Keys' cubic convolution at distances up to 1."""
    return (d * (a + 2) - (a + 3)) * d * d + 1.0


def _far(d: Term, a: float) -> Term:
    """Keys' cubic convolution at distances from 1 to 2."""
    return ((d * a - 5 * a) * d + 8 * a) * d - 4 * a
