"""What compression may learn from and be judged on: the training and the validation split, never test."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from edgepress.compress.tuning.course import Course
from edgepress.config.train import Augment
from edgepress.datasets.augment import augment
from edgepress.datasets.prepared import Array, Split
from edgepress.errors import DataError


@dataclass(frozen=True)
class TuningData:
    """The training split, how to augment it, and the seed of its order and augmentation.

    `validation` says which of the states that training passes through is best; nothing is learnt from it.
    `course` is where fine-tuning notes how it went.
    """

    train: Split
    validation: Split
    augment: Augment
    seed: int
    course: Course = field(default_factory=Course)

    @property
    def augments(self) -> bool:
        """Whether batches are augmented."""
        return bool(self.augment.shift or self.augment.flip)

    def batches(self, size: int, epoch: int) -> Iterator[tuple[Array, Array]]:
        """Shuffled, augmented batches of one epoch: inputs (n, H, W, C) float32 and classes (n,).

        All have `size` samples, so that TensorFlow traces one shape; the rest of the epoch is left out. A
        smaller split is one batch.

        Raises:
            DataError: the split is empty.
        """
        if not len(self.train):
            raise DataError(
                "the training split is empty; expected samples to fine-tune with. Lower data.splits.test, "
                "data.splits.validation or data.splits.calibration"
            )
        size = min(size, len(self.train))
        random = np.random.default_rng((self.seed, epoch))
        order = random.permutation(len(self.train))
        for start in range(0, len(order) - size + 1, size):
            chosen = order[start : start + size]
            inputs = augment(self.train.inputs(chosen), random, self.augment)
            yield channels_last(inputs), np.asarray(self.train.y[chosen])

    def steps_per_epoch(self, size: int) -> int:
        """Batches in one epoch."""
        return max(1, len(self.train) // size) if len(self.train) else 0


def channels_last(inputs: Array) -> Array:
    """(N, C, H, W) → (N, H, W, C); vectors stay."""
    return np.ascontiguousarray(np.moveaxis(inputs, 1, -1)) if inputs.ndim > 2 else inputs
