"""Reductions, pools, and normalisations by statistics of the tensor itself."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgepress.convert.writer.activations import composed
from edgepress.convert.writer.builder import Builder
from edgepress.convert.writer.graph import Codes, Tensor
from edgepress.convert.writer.lowering import Lowering, Rule
from edgepress.translate import formulas
from edgepress.translate.plan import Step

Axes = tuple[int, ...]


def _reduced(kind: str, of_bool: str = "") -> Callable[..., Tensor]:
    def reduce(build: Builder, x: Tensor, axes: Axes, keepdims: bool) -> Tensor:
        return build.reduce(of_bool if x.dtype == "bool" and of_bool else kind, x, axes, keepdims)

    return reduce


def _reducing(kind: str) -> Rule:
    """A sum or mean, which integer kernels make with any scale."""

    def integers(low: Lowering, step: Step) -> Tensor | None:
        x, codes = low.code(step.inputs[0]), low.wanted.get(step.output)
        if x is None or codes is None:
            return None
        return low.build.reduce(kind, x, step.attributes["axes"], step.attributes["keepdims"], codes)

    return Rule(composed(_reduced(kind)), integers)


def _choosing(kind: str, of_bool: str) -> Rule:
    """The largest or smallest number has the largest or smallest code."""
    reduce = _reduced(kind, of_bool)

    def integers(low: Lowering, step: Step) -> Tensor | None:
        x = low.code(step.inputs[0])
        if x is None:
            return None
        return low.build.reduce(kind, x, step.attributes["axes"], step.attributes["keepdims"], x.codes)

    return Rule(composed(reduce), integers, commutes=True)


def _normalised(low: Lowering, step: Step) -> Tensor:
    weights: dict[str, Any] = {part: weight.values for part, weight in step.weights.items()}
    x = low.number(step.inputs[0])
    made: Tensor = formulas.normalised(low.build, x, **step.attributes, **weights)
    return made


# Pools


def _pool(kind: str) -> Callable[..., Tensor]:
    def pool(build: Builder, x: Tensor, size: Axes, strides: Axes, padding: str) -> Tensor:
        n, *image, channels = x.shape
        sizes = [
            -(-length // s) if padding == "SAME" else (length - k) // s + 1
            for length, k, s in zip(image, size, strides, strict=True)
        ]
        options = {"padding": padding, "stride_h": strides[0], "stride_w": strides[1]}
        options |= {"filter_height": size[0], "filter_width": size[1]}
        return build.add(kind, [x], (n, *sizes, channels), x.dtype, x.codes, **options)

    return pool


def _max_pool(low: Lowering, step: Step) -> Tensor:
    return _pool("MAX_POOL_2D")(low.build, low.stored(step.inputs[0]), **step.attributes)


def _average_pool(low: Lowering, step: Step) -> Tensor:
    return _pool("AVERAGE_POOL_2D")(low.build, low.number(step.inputs[0]), **step.attributes)


def _coded_average_pool(low: Lowering, step: Step) -> Tensor | None:
    """Its own kernel keeps the codes, so what is read in others would be rounded twice.

    A depthwise convolution rounds once, and XNNPACK has one of few places, but no pool of codes.
    """
    x, codes, a = low.code(step.inputs[0]), low.wanted.get(step.output), step.attributes
    if x is None or x.codes is None or codes is None:
        return None
    count = math.prod(a["size"])
    if x.dtype != "int8" or a["padding"] != "VALID" or (count > _TAPS and codes.same(x.codes)):
        return _pool("AVERAGE_POOL_2D")(low.build, x, **a)
    return _mean_of_windows(low.build, x, a["size"], a["strides"], codes)


_TAPS = 25
"""XNNPACK's fast depthwise kernels have at most so many places."""


def _mean_of_windows(
    build: Builder, x: Tensor, size: Sequence[int], strides: Sequence[int], codes: Codes
) -> Tensor:
    """The mean of each window of an image of codes, as a depthwise convolution of equal weights."""
    assert x.codes is not None
    n, *image, channels = x.shape
    share = np.full(channels, 1 / (_WEIGHT * np.prod(size)), np.float32)
    zeros = np.zeros(channels, np.int64)
    shape = (1, *size, channels)
    kernel = Tensor("", shape, "int8", Codes(share, zeros, 3), np.full(shape, _WEIGHT, np.int8))
    of_bias = Codes(share * x.codes.scale, zeros, 0, "int32")
    bias = Tensor("", (channels,), "int32", of_bias, zeros.astype(np.int32))
    places = [(length - k) // s + 1 for length, k, s in zip(image, size, strides, strict=True)]
    options: dict[str, Any] = {"stride_h": strides[0], "stride_w": strides[1], "depth_multiplier": 1}
    result = (n, *places, channels)
    return build.add("DEPTHWISE_CONV_2D", [x, kernel, bias], result, codes=codes, padding="VALID", **options)


_WEIGHT = 64
"""A power of two, so that halves are exact."""


def _views(build: Builder, step: Step, x: Tensor) -> list[Tensor]:
    """For each place in the window, the elements that the windows have there, (N, *outputs, C)."""
    a = step.attributes
    views = []
    for place in itertools.product(*(range(k) for k in a["size"])):
        begin = [p * d for p, d in zip(place, a["dilations"], strict=True)]
        last = [b + (o - 1) * s + 1 for b, o, s in zip(begin, a["outputs"], a["strides"], strict=True)]
        spans = ((0, *begin, 0), (x.shape[0], *last, x.shape[-1]), (1, *a["strides"], 1))
        views.append(build.strided_slice(x, *spans))
    return views


def _max_of_views(low: Lowering, step: Step) -> Tensor:
    build, x = low.build, low.stored(step.inputs[0])
    small = x.dtype if x.codes is None and x.dtype in ("int8", "uint8", "int16") else ""
    views = _views(build, step, build.cast(x, "int32") if small else x)
    made = functools.reduce(lambda one, other: build.binary("MAXIMUM", one, other, one.codes), views)
    return build.cast(made, small) if small else made


def _sum_of_views(low: Lowering, step: Step) -> Tensor:
    views = _views(low.build, step, low.number(step.inputs[0]))
    return low.build.times(functools.reduce(low.build.plus, views), step.weights["share"].values)


RULES = {
    "mean": _reducing("MEAN"),
    "sum": _reducing("SUM"),
    "maximum": _choosing("REDUCE_MAX", "REDUCE_ANY"),
    "minimum": _choosing("REDUCE_MIN", "REDUCE_ALL"),
    "product": Rule(composed(_reduced("REDUCE_PROD"))),
    "l1": Rule(composed(formulas.l1)),
    "l2": Rule(composed(formulas.l2)),
    "sum_square": Rule(composed(formulas.sum_square)),
    "log_sum": Rule(composed(formulas.log_sum)),
    "log_sum_exp": Rule(composed(formulas.log_sum_exp)),
    "normalised": Rule(_normalised),
    "lp_normalised": Rule(composed(formulas.lp_normalised)),
    "max_pool": Rule(_max_pool, _max_pool, commutes=True),
    "average_pool": Rule(_average_pool, _coded_average_pool),
    "max_of_views": Rule(_max_of_views, _max_of_views, commutes=True),
    "sum_of_views": Rule(_sum_of_views),
}
