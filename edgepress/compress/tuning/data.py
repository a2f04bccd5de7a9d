"""What compression may learn from and be judged on: the training and the validation split, never test."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from edgepress.compress.tuning.course import Course
from edgepress.config.train import Augment
from edgepress.datasets import samples
from edgepress.datasets.augment import augment
from edgepress.datasets.prepared import Array, Split
from edgepress.errors import DataError
from edgepress.translate.plan import Entry

Given = Array | list[Array]
"""A batch of inputs, or of outputs: one array, or one for each."""


@dataclass(frozen=True)
class TuningData:
    """The training split, how to augment it, and the seed of its order and augmentation.

    `validation` says which of the states that training passes through is best; nothing is learnt from it.
    `course` is where fine-tuning notes how it went. `entries` are the inputs of the network's plan, which say
    how it takes inputs that have names.
    """

    train: Split
    validation: Split
    augment: Augment
    seed: int
    course: Course = field(default_factory=Course)
    entries: tuple[Entry, ...] = ()

    @property
    def augments(self) -> bool:
        """Whether batches are augmented; nobody knows what may be done to inputs that have names."""
        return bool(self.augment.shift or self.augment.flip) and not self.train.named

    def batches(self, size: int, epoch: int) -> Iterator[tuple[Given, Array]]:
        """Shuffled, augmented batches of one epoch: inputs as the plan has them, and classes (n,).

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
            if self.train.named:
                inputs = self.plain(self.train, chosen)
            else:
                inputs = channels_last(augment(self.train.inputs(chosen), random, self.augment))
            yield inputs, np.asarray(self.train.y[chosen])

    def plain(self, split: Split, indices: "slice | Array") -> Given:
        """Some samples of a split as the plan has them: images (n, H, W, C) float32, or all inputs."""
        if not split.named:
            return channels_last(split.inputs(indices))
        declared = [_declared(entry) for entry in self.entries]
        fed = split.samples(indices).feed(declared)
        moved = [np.ascontiguousarray(np.transpose(fed[one.name], one.order)) for one in self.entries]
        return moved if len(moved) > 1 else moved[0]

    def steps_per_epoch(self, size: int) -> int:
        """Batches in one epoch."""
        return max(1, len(self.train) // size) if len(self.train) else 0


def _declared(entry: Entry) -> samples.Entry:
    """An input of a plan as the ONNX model declares it, before its axes were moved."""
    dims = [entry.shape[entry.order.index(axis)] for axis in range(len(entry.shape))]
    return samples.Entry(entry.name, entry.dtype, tuple(dims))


def channels_last(inputs: Array) -> Array:
    """(N, C, H, W) → (N, H, W, C); vectors stay."""
    return np.ascontiguousarray(np.moveaxis(inputs, 1, -1)) if inputs.ndim > 2 else inputs
