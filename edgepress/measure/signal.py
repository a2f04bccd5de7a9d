"""How far outputs are from what they should be: the lowest signal-to-noise ratio of an output and its parts.

A whole output says little where it joins what differs in magnitude, such as boxes in pixels and scores below
one: the boxes drown the scores. So its channels are measured apart wherever their magnitudes lie apart.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np

from edgepress.datasets.prepared import Array

APART = 16.0
"""Channels of which each is at most so many times as large as the next smaller one are measured together."""

_ROUNDING = 2.0**-21
"""What is smaller than the largest channel by this factor is rounding: float32 keeps 24 bits."""

_SUM = 1e-3
"""How far a sum of shares may be from one."""


@dataclass(frozen=True)
class Signal:
    """An output compared with its reference.

    Attributes:
        snr_db: the lowest signal-to-noise ratio, in dB, of the whole and of each part; inf where nothing
            differs, -inf where the reference is all zero and the output not, or they are not `alike`. Of
            integers it is 10·log10 of one over the share of elements that differ.
        alike: whether NaN and infinity stand at the same elements of both.
        part: where that is, as an index of the output, e.g. '[:, 4]'; '' for the whole.
        max_abs_diff: the largest difference of two finite elements.
        max_relative_diff: that as a share of the reference's range; inf where the reference is constant.
        top1: the share of rows along the last axis that are largest at the same place, for floats of two
            axes, such as (N, classes), or three, such as (N, tokens, classes); None for other outputs.
        varies: whether the reference differs from sample to sample; one sample always does.
        drowned: whether the noise is larger than what differs from sample to sample.
        integer: whether the outputs are integers or truth values.
    """

    snr_db: float
    alike: bool
    part: str
    max_abs_diff: float
    max_relative_diff: float
    top1: float | None
    varies: bool
    drowned: bool
    integer: bool


def compare(actual: Array, expected: Array, samples: int) -> Signal:
    """Measure an output of `samples` inferences, joined on its first axis, against a reference of its shape.

    The power of signal and noise is that of the elements as they are, an offset included.
    """
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    integer = expected.dtype.kind in "iub"
    ours, theirs = actual.astype(np.float64), expected.astype(np.float64)
    alike = np.array_equal(_kinds(ours), _kinds(theirs))
    finite = np.isfinite(theirs) & np.isfinite(ours)
    ours, theirs = np.where(finite, ours, 0.0), np.where(finite, theirs, 0.0)
    difference = ours - theirs
    varying, largest = _varying(theirs, samples), float(np.abs(difference).max(initial=0.0))
    if not alike:
        snr, part = -math.inf, ""
    elif integer:
        snr, part = _ratio(1.0, float((difference != 0).mean()) if difference.size else 0.0), ""
    else:
        snr, part = _worst(theirs, difference)
    return Signal(
        snr_db=snr,
        alike=alike,
        part=part,
        max_abs_diff=largest,
        max_relative_diff=_share(largest, theirs),
        top1=_top1(actual, expected),
        varies=samples < 2 or varying > 0,
        drowned=samples > 1 and 0 < varying < float((difference**2).sum()),
        integer=integer,
    )


def compare_rows(actual: Array, expected: Array) -> Signal:
    """As `compare`, of integers that differ in the number of rows, such as the boxes that were found.

    Rows that both have, in the same order, are equal; at most `_ROWS` are looked at.
    """
    ours, theirs = ([row.tobytes() for row in values[:_ROWS]] for values in (actual, expected))
    blocks = SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks()
    share = sum(block.size for block in blocks) / max(len(ours), len(theirs))
    return Signal(
        snr_db=_ratio(1.0, 1.0 - share),
        alike=True,
        part="",
        max_abs_diff=math.inf,
        max_relative_diff=math.inf,
        top1=None,
        varies=True,
        drowned=False,
        integer=True,
    )


_ROWS = 4096


def snr_db(actual: Array, expected: Array) -> float:
    """The lowest ratio of two outputs (N, ...), in dB, as in `Signal`."""
    return compare(actual, expected, len(expected)).snr_db


def worst(found: Mapping[str, Signal]) -> tuple[str, Signal]:
    """The output with the lowest ratio, and its name."""
    return min(found.items(), key=lambda one: one[1].snr_db)


def _kinds(values: Array) -> Array:
    """0 for a finite number, else which other it is."""
    return np.where(np.isnan(values), 2, np.where(np.isinf(values), np.sign(values), 0))


def _varying(values: Array, samples: int) -> float:
    """The power of what differs from sample to sample; of samples of other sizes, from element to element."""
    if samples < 2 or not values.size:
        return 0.0
    if values.size % samples:
        return float(((values - values.mean()) ** 2).sum())
    rows = values.reshape(samples, -1)
    return float(((rows - rows.mean(axis=0)) ** 2).sum()) if np.ptp(rows, axis=0).any() else 0.0


def _share(difference: float, values: Array) -> float:
    """A difference over that of the largest and the smallest element."""
    spread = float(np.ptp(values)) if values.size else 0.0
    return difference / spread if spread else math.inf if difference else 0.0


def _top1(actual: Array, expected: Array) -> float | None:
    if expected.dtype.kind != "f" or expected.ndim not in (2, 3) or expected.shape[-1] < 2:
        return None
    return float((actual.argmax(-1) == expected.argmax(-1)).mean()) if expected.size else None


def _worst(expected: Array, difference: Array) -> tuple[float, str]:
    """The lowest ratio, and where."""
    signal, noise = expected**2, difference**2
    worst, place = _ratio(float(signal.sum()), float(noise.sum())), ""
    for axis in range(1, expected.ndim):
        if _are_shares(expected, axis):
            continue
        others = tuple(one for one in range(expected.ndim) if one != axis)
        powers, noises = signal.sum(axis=others), noise.sum(axis=others)
        for members in _groups(powers):
            ratio = _ratio(float(powers[members].sum()), float(noises[members].sum()))
            if ratio < worst:
                worst, place = ratio, _index(axis, members)
    return worst, place


def _are_shares(values: Array, axis: int) -> bool:
    """Whether they sum to one, as after a Softmax: then a small share is small, and no part of its own."""
    return values.min(initial=0.0) >= 0 and bool((np.abs(values.sum(axis=axis) - 1) < _SUM).all())


def _groups(powers: Array) -> Iterator[Array]:
    """The indices of channels whose magnitudes lie together; none where all do.

    Channels of zeros, or of rounding, belong to no group: only the whole tells of them.
    """
    magnitudes = np.sqrt(powers)
    known = np.flatnonzero(magnitudes > _ROUNDING * magnitudes.max(initial=0.0))
    ordered = known[np.argsort(magnitudes[known], kind="stable")]
    steps = magnitudes[ordered][1:] > APART * magnitudes[ordered][:-1]
    if steps.any():
        yield from (np.sort(group) for group in np.split(ordered, np.flatnonzero(steps) + 1))


def _ratio(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def _index(axis: int, members: Array) -> str:
    """Which elements these are, as numpy would index them."""
    first, last = int(members[0]), int(members[-1])
    if len(members) == 1:
        chosen = str(first)
    elif last - first + 1 == len(members):
        chosen = f"{first}:{last + 1}"
    else:
        listed = [str(int(one)) for one in members[:3]]
        chosen = f"[{', '.join(listed)}{', ...' if len(members) > 3 else ''}]"
    return f"[{':, ' * axis}{chosen}]"
