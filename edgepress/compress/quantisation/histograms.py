"""Ranges that leave out the few largest elements: by percentile, or where the distribution is kept best.

The latter is the method of Migacz, "8-bit Inference with TensorRT", GTC 2017: of all ranges, the one with the
least Kullback-Leibler divergence of the distribution as quantised from the distribution itself. What lies
outside counts at the end of the range in the latter, and not at all in the former, so it is what cutting
costs. Here a range has two ends of its own, and both are found.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from edgepress.compress.quantisation.activations import Activations, Range
from edgepress.config.quant import Calibration
from edgepress.datasets.prepared import Array

LEVELS = 256
_FINER = 16
"""So many counters to a bin, to look closer where a small part of the range is left."""

_LEAST_IN_A_BIN = 16
"""On average, or a histogram tells chance rather than shape: of less, wider bins are made."""

_ROUNDS = 4


class Histogram:
    """How often elements of a tensor fall into each of many bins of its range, which holds 0."""

    def __init__(self, bounds: Range, bins: int) -> None:
        self.low, high = min(bounds[0], 0.0), max(bounds[1], 0.0)
        self.width = (high - self.low) / bins
        self.counts, self.zeros = np.zeros(bins, np.int64), 0

    def add(self, values: Array) -> None:
        """Count elements; those that are exactly 0, as a Relu makes them, apart: no range rounds them."""
        if not self.width:
            return
        apart = values[values != 0]
        self.zeros += values.size - apart.size
        places = ((apart - np.float32(self.low)) * np.float32(1 / self.width)).astype(np.int64)
        self.counts += np.bincount(np.clip(places, 0, len(self.counts) - 1), minlength=len(self.counts))

    @property
    def zero(self) -> int:
        """The first bin that holds no negative number."""
        return round(-self.low / self.width) if self.width else 0

    def range(self, first: int, end: int) -> Range:
        """What the bins from `first` up to, but not including, `end` cover, and 0."""
        return min(self.low + first * self.width, 0.0), max(self.low + end * self.width, 0.0)


def narrowed(
    activations: Activations, ranges: Mapping[str, Range], names: Iterable[str], config: Calibration
) -> dict[str, Range]:
    """The ranges, but those of the named tensors by percentile or entropy, as the configuration says.

    A second look at the activations, which fills `config.bins` · 16 counters for each tensor.
    """
    counted = {name: Histogram(ranges[name], config.bins * _FINER) for name in names}
    for tensors in activations:
        for name, histogram in counted.items():
            histogram.add(tensors[name])
    by_percentile = config.method == "percentile"
    found = {
        name: percentile_range(each, config.percentile) if by_percentile else entropy_range(each, config.bins)
        for name, each in counted.items()
        if each.width
    }
    return {**ranges, **found}


def percentile_range(histogram: Histogram, percentile: float) -> Range:
    """What holds so many percent of all elements, as many being left out below as above, and 0."""
    counts = histogram.counts.copy()
    counts[min(histogram.zero, len(counts) - 1)] += histogram.zeros
    below, left_out = np.cumsum(counts), counts.sum() * (100 - percentile) / 200
    first = int(np.searchsorted(below, left_out, side="right"))
    end = int(np.searchsorted(below, below[-1] - left_out, side="left")) + 1
    return histogram.range(first, end)


def entropy_range(histogram: Histogram, bins: int) -> Range:
    """The range of least divergence, over histograms of `bins` bins."""
    counts, merged = histogram.counts, len(histogram.counts) // bins
    while bins > LEVELS and counts.sum() < _LEAST_IN_A_BIN * bins:
        bins, merged = bins // 2, merged * 2
    first, end = 0, len(counts)
    while True:
        within = _least_divergence(counts, (first, end), histogram.zero, merged)
        small = within[1] - within[0] < 2 * LEVELS * merged
        if within == (first, end) or not small or merged == 1:
            return histogram.range(*within)
        (first, end), merged = within, merged // 2


def _least_divergence(counts: Array, whole: tuple[int, int], zero: int, merged: int) -> tuple[int, int]:
    """The best range within `whole` whose ends lie at multiples of `merged` from its start."""
    start, stop = whole
    edges = np.append(np.arange(start, stop, merged), stop)
    coarse = np.diff(np.concatenate([[0], np.cumsum(counts)])[edges])
    outside = float(counts[:start].sum()), float(counts[stop:].sum())
    search = _Search(coarse.astype(np.float64), outside)
    first, end = search.best(int(np.clip((zero - start) / merged, 0, len(coarse))))
    return int(edges[first]), int(edges[end])


class _Search:
    """Divergences of many ranges at once, from running sums over the histogram."""

    def __init__(self, counts: Array, outside: tuple[float, float]) -> None:
        self._counts, self._outside = counts, outside
        self._sums, self._filled, self._logs = (
            np.concatenate([[0.0], np.cumsum(each)])
            for each in (counts, counts > 0, counts * np.log(np.maximum(counts, 1)))
        )

    def best(self, zero: int) -> tuple[int, int]:
        """The ends of the best range around bin `zero`: one moves while the other stays, in turns."""
        bins = len(self._counts)
        first, end = 0, bins
        for _ in range(_ROUNDS):
            before = first, end
            ends = np.arange(max(zero, first + LEVELS), bins + 1)
            if len(ends):
                end = int(self._least(np.full_like(ends, first), ends)[1])
            firsts = np.arange(0, min(zero, end - LEVELS) + 1)
            if len(firsts):
                first = int(self._least(firsts, np.full_like(firsts, end))[0])
            if (first, end) == before:
                break
        return first, end

    def _least(self, firsts: Array, ends: Array) -> tuple[int, int]:
        """Of ranges given by their ends (n,), that of least divergence; of equal ones, the widest."""
        divergences = self._divergences(firsts, ends)
        least = np.flatnonzero(divergences <= divergences.min() + 1e-12)
        widest = least[np.argmax((ends - firsts)[least])]
        return firsts[widest], ends[widest]

    def _divergences(self, firsts: Array, ends: Array) -> Array:
        """KL(P‖Q) of each range: P has all that lies outside in its outermost bins, Q each level's mean.

        It is that of counts, Σ p·log(p/q) − Σ p + Σ q. Of distributions, which both sum to 1, it would be 0
        where all elements are cut to a single bin; where few are cut, the two agree.
        """
        sums, filled, logs, counts = self._sums, self._filled, self._logs, self._counts
        levels = firsts[:, None] + (ends - firsts)[:, None] * np.arange(LEVELS + 1) // LEVELS
        inside, bins = np.diff(sums[levels]), np.diff(filled[levels])
        means = inside / np.maximum(bins, 1)
        total = sums[-1] + sum(self._outside)
        entropy, cross = logs[ends] - logs[firsts], _times_log(inside, means).sum(axis=1)
        for own, level, cut in (
            (counts[firsts], means[:, 0], sums[firsts] + self._outside[0]),
            (counts[ends - 1], means[:, -1], sums[-1] - sums[ends] + self._outside[1]),
        ):
            present = np.maximum(own, 1)  # as if one were there: else nothing could end at an empty bin
            entropy = entropy + _times_log(present + cut, present + cut) - _times_log(present, present)
            cross = cross + _times_log(cut, np.where(own > 0, level, 1.0))
        kept = sums[ends] - sums[firsts]
        return np.asarray((entropy - cross - (total - kept)) / total)


def _times_log(factor: Array, values: Array) -> Array:
    """factor · log(values), 0 where the factor is."""
    return np.asarray(factor * np.log(np.where((factor > 0) & (values > 0), values, 1.0)))
