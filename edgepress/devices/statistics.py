"""What durations say: ratios of two models with their uncertainty."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtr, stdtrit

from edgepress.devices.base import Array

_RESAMPLES = 10_000

Verdict = Literal["faster", "slower", "no difference"]


@dataclass(frozen=True)
class Interval:
    """A ratio and its 95% confidence interval; `verdict` is of the candidate, at 99%."""

    ratio: float
    low: float
    high: float
    verdict: Verdict

    @property
    def width(self) -> float:
        """As a share of the ratio."""
        return (self.high - self.low) / self.ratio


def speedup(baseline: Array, candidate: Array) -> Interval:
    """How many times as fast as the baseline the candidate is, from durations (sittings, rounds, runs).

    The ratio is the geometric mean over the sittings of the ratio of medians. Sittings are what is drawn
    again (a cluster bootstrap: Field and Welsh 2007), because where a process happens to lie in memory alone
    can cost it some per cent, the same in all its inferences. The percentiles are those of Hesterberg (2015,
    "What Teachers Should Know About the Bootstrap", expanded percentile interval), which for few sittings are
    about as wide as Student's.
    """
    logs = np.log(np.median(baseline, axis=(1, 2)) / np.median(candidate, axis=(1, 2)))
    drawn = np.random.default_rng(0).integers(len(logs), size=(_RESAMPLES, len(logs)))
    means = logs[drawn].mean(axis=1)
    low, high = np.exp(_percentiles(means, len(logs), 0.95))
    surely_low, surely_high = np.exp(_percentiles(means, len(logs), 0.99))
    verdict: Verdict = "no difference"
    if surely_low > 1 or surely_high < 1:
        verdict = "faster" if surely_low > 1 else "slower"
    return Interval(float(np.exp(logs.mean())), float(low), float(high), verdict)


def _percentiles(means: Array, count: int, confidence: float) -> Array:
    student = stdtrit(count - 1, (1 - confidence) / 2)
    tail = ndtr(np.sqrt(count / (count - 1)) * student)
    return np.asarray(np.quantile(means, [tail, 1 - tail]))
