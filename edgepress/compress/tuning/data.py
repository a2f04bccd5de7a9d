"""What compression may learn from: the training split and its augmentation, never validation or test."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgepress.config.train import Augment
from edgepress.datasets.augment import augment
from edgepress.datasets.prepared import Array, Split
from edgepress.errors import DataError


@dataclass(frozen=True)
class TuningData:
    """The training split, how to augment it, and the seed of its order and augmentation."""

    train: Split
    augment: Augment
    seed: int

    def batches(self, size: int, epoch: int) -> Iterator[tuple[Array, Array]]:
        """Shuffled, augmented batches of one epoch: inputs (n, H, W, C) float32 and classes (n,).

        All have `size` samples, so that TensorFlow traces one shape; the rest of the epoch is left out.

        Raises:
            DataError: the split has fewer samples than one batch.
        """
        if len(self.train) < size:
            raise DataError(
                f"the training split has {len(self.train)} samples, fewer than one batch of {size}; "
                "lower fine_tune.batch_size or raise the share of training in conf/data/"
            )
        random = np.random.default_rng((self.seed, epoch))
        order = random.permutation(len(self.train))
        for start in range(0, len(order) - size + 1, size):
            chosen = order[start : start + size]
            inputs = augment(self.train.inputs(chosen), random, self.augment)
            yield channels_last(inputs), np.asarray(self.train.y[chosen])

    def steps_per_epoch(self, size: int) -> int:
        """Batches in one epoch."""
        return len(self.train) // size


def channels_last(inputs: Array) -> Array:
    """(N, C, H, W) → (N, H, W, C); vectors stay."""
    return np.ascontiguousarray(np.moveaxis(inputs, 1, -1)) if inputs.ndim > 2 else inputs
