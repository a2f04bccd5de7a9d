"""What single operators of a model take."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgepress.devices.base import Array

SITTINGS = 9
"""Processes for each model, one after the other."""

_SURELY = 2.0
"""By how many times its error a time must lie below zero for its operator to be joined to the one before."""


@dataclass(frozen=True)
class Operator:
    """An operator, or some that are timed together.

    `name` is empty if it is but a number that a converter gave; `shape` is of the first output.
    """

    operator: str
    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class OperatorTime(Operator):
    """`ms` is its time in one inference, and `error_ms` half the width of the 95% interval of that.

    It is `joined` if where the one before it ends cannot be told.
    """

    ms: float
    error_ms: float
    joined: bool


@dataclass(frozen=True)
class ModelTimes:
    """The operators in the order in which they run; `total_ms` is what an inference takes as a whole.

    Where a profiler's own time is in that, `plain_ms` is the same without a profiler.
    """

    operators: tuple[OperatorTime, ...]
    total_ms: float
    plain_ms: float | None = None

    @property
    def rest_ms(self) -> float:
        """What the operators do not account for."""
        return max(0.0, self.total_ms - sum(each.ms for each in self.operators))


@dataclass(frozen=True)
class Sitting:
    """What one process measured: `ms` has a time for each operator, known to no better than `tick_ms`."""

    operators: Sequence[Operator]
    ms: Array
    total_ms: float
    plain_ms: float | None = None
    tick_ms: float = 0.0


def model_times(sittings: Sequence[Sitting]) -> ModelTimes:
    """Of one model, from SITTINGS: medians, and intervals from the second least to the second largest.

    These hold the median with 96% (by the binomial distribution), whatever the times' distribution is and
    however far off the extremes are. Sittings, not inferences, are what varies: where a process happens to
    lie in memory changes an operator's time by more than the noise of one process shows.
    """
    ms = np.sort([sitting.ms for sitting in sittings], axis=0)  # (sittings, operators)
    errors = np.maximum((ms[-2] - ms[1]) / 2, sittings[0].tick_ms)
    medians = np.median(ms, axis=0)
    joined = medians < -_SURELY * errors
    joined[:1] = False
    operators = tuple(
        OperatorTime(each.operator, each.name, each.shape, float(median), float(error), bool(flag))
        for each, median, error, flag in zip(sittings[0].operators, medians, errors, joined, strict=True)
    )
    plain = [sitting.plain_ms for sitting in sittings if sitting.plain_ms is not None]
    return ModelTimes(
        operators,
        float(np.median([sitting.total_ms for sitting in sittings])),
        float(np.median(plain)) if plain else None,
    )
