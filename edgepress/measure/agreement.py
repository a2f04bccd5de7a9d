"""How far the outputs of two runs of a network agree, output by output, as the metrics tell it."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgepress.datasets.prepared import Array
from edgepress.measure.signal import Signal, compare

MOST_DB = 200.0
"""More than any two runs in float32 have that differ: stands for a ratio without end, which no JSON has."""

Outputs = Mapping[str, Array]
"""Each output by name, of some samples joined on the first axis."""


def is_classifier(outputs: Outputs, samples: int) -> bool:
    """Whether these are logits of classes, or may be: one output of numbers (samples, K)."""
    (first, *others) = outputs.values()
    return not others and first.ndim == 2 and len(first) == samples and first.dtype.kind == "f"


def agreement(actual: Outputs, expected: Outputs, samples: int) -> dict[str, Signal | None]:
    """Compare outputs of the same names; None where their sizes differ, as the number of boxes found may."""
    found = dict[str, Signal | None]()
    for name, theirs in expected.items():
        ours = actual[name]
        alike = ours.shape == theirs.shape and theirs.size
        found[name] = compare(ours, theirs, _rows(theirs, samples)) if alike else None
    return found


def aligned(actual: Outputs, expected: Outputs) -> Outputs:
    """The outputs under the names of the others: their own or, where these differ, in their order."""
    if set(actual) == set(expected) or len(actual) != len(expected):
        return actual
    return dict(zip(expected, actual.values(), strict=True))


def agreement_metrics(found: Mapping[str, Signal | None]) -> dict[str, Any]:
    """The lowest signal-to-noise ratio, and the figures of each output, as plain values.

    `snr_db` lies between −200, where nothing of a signal is left, and 200, where nothing differs;
    `max_relative_diff` is the largest difference as a share of the output's range. Outputs whose sizes differ
    have None, and count as −200.
    """
    ratios = [-MOST_DB if signal is None else bounded_db(signal) for signal in found.values()]
    return {"min_snr_db": min(ratios), "outputs": {name: _figures(one) for name, one in found.items()}}


def bounded_db(signal: Signal) -> float:
    """The ratio as a number that JSON has."""
    return min(max(signal.snr_db, -MOST_DB), MOST_DB)


def _figures(signal: Signal | None) -> dict[str, Any]:
    if signal is None:
        return {"snr_db": None, "max_relative_diff": None, "top1": None}
    relative = signal.max_relative_diff
    return {
        "snr_db": bounded_db(signal),
        "max_relative_diff": relative if math.isfinite(relative) else None,
        "top1": signal.top1,
    }


def _rows(values: Array, samples: int) -> int:
    """How many samples can be told apart: all, unless outputs have other sizes from sample to sample."""
    return samples if samples and not values.size % samples else 1


def finite(outputs: Outputs) -> bool:
    """Whether all numbers are."""
    return all(bool(np.isfinite(each).all()) for each in outputs.values() if each.dtype.kind == "f")
