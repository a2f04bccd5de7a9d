"""How good a network is while it is fine-tuned: its loss and accuracy on the validation split."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepress.compress.tuning.data import Given, TuningData
from edgepress.compress.tuning.objectives import Objective
from edgepress.datasets.prepared import Array

BATCH = 256


@dataclass(frozen=True)
class Score:
    """The share of samples whose class is right, or of outputs that are explained, and the mean loss."""

    accuracy: float
    loss: float

    def beats(self, other: "Score", tolerance: float = 0.0) -> bool:
        """Whether this is a better network: more accurate, or as accurate with a lower loss.

        With `tolerance`, the loss may also be higher by up to that share.
        """
        as_low = self.loss < other.loss or self.loss <= other.loss * (1 + tolerance) != other.loss
        return self.accuracy > other.accuracy or (self.accuracy == other.accuracy and as_low)

    def told(self) -> str:
        """Both, in words."""
        return f"accuracy {self.accuracy:.4f}, loss {self.loss:.4f}"


UNUSABLE = Score(0.0, math.inf)
"""The score of a network whose outputs are not numbers."""


class Judge:
    """Scores networks on the validation split, always in the same way.

    What the objective compares with, which a teacher may have a part in, is computed once.
    """

    def __init__(self, data: TuningData, objective: Objective) -> None:
        self._data, self._objective = data, objective
        self._targets = [objective.targets(inputs, classes) for inputs, classes in self._batches()]

    def score(self, model: Any) -> Score:
        """Score a Keras network in inference mode."""
        losses, right = list[float](), 0.0
        for (inputs, classes), targets in zip(self._batches(), self._targets, strict=True):
            outputs = model.predict_on_batch(inputs)
            if not all(np.isfinite(each).all() for each in _listed(outputs)):
                return UNUSABLE
            losses.extend(self._objective.losses(targets, outputs).tolist())
            known = classes if self._data.validation.has_classes else None
            right += self._objective.right(targets, outputs, known)
        return Score(right / len(self._data.validation), float(np.mean(losses)))

    def _batches(self) -> Iterator[tuple[Given, Array]]:
        split = self._data.validation
        for start in range(0, len(split), BATCH):
            part = slice(start, start + BATCH)
            yield self._data.plain(split, part), np.asarray(split.y[part])


def _listed(outputs: Given) -> list[Array]:
    return outputs if isinstance(outputs, list) else [outputs]
