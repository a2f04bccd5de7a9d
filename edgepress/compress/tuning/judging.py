"""How good a network is while it is fine-tuned: its loss and accuracy on the validation split."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepress.compress.tuning.data import channels_last
from edgepress.datasets.prepared import Array, Split

BATCH = 256


@dataclass(frozen=True)
class Score:
    """The share of samples whose class is right, and the mean loss."""

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

Targets = Callable[[Array, Array], Array]
"""From inputs (n, H, W, C) and classes (n,) to what the loss compares the logits with."""


class Judge:
    """Scores networks on one split, always in the same way.

    What the loss compares with, which a teacher may have a part in, is computed once. Without classes, a
    sample's right class is its teacher's.
    """

    def __init__(self, split: Split, targets: Targets, loss: Callable[[Array, Array], Any]) -> None:
        self._split, self._loss = split, loss
        self._targets = [targets(inputs, classes) for inputs, classes in self._batches()]

    def score(self, model: Any) -> Score:
        """Score a Keras network in inference mode."""
        losses, right = list[float](), 0
        for (inputs, classes), targets in zip(self._batches(), self._targets, strict=True):
            logits = model.predict_on_batch(inputs)
            if not np.isfinite(logits).all():
                return UNUSABLE
            losses.extend(np.asarray(self._loss(targets, logits)).tolist())
            wanted = classes if self._split.has_classes else targets[:, logits.shape[1] :].argmax(axis=1)
            right += int((logits.argmax(axis=1) == wanted).sum())
        return Score(right / len(self._split), float(np.mean(losses)))

    def _batches(self) -> Iterator[tuple[Array, Array]]:
        for start in range(0, len(self._split), BATCH):
            part = slice(start, start + BATCH)
            yield channels_last(self._split.inputs(part)), np.asarray(self._split.y[part])
