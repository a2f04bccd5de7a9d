"""Augmentation of image batches; numpy only, so training in torch and fine-tuning in TensorFlow share it."""

import numpy as np

from edgepress.config.train import Augment
from edgepress.datasets.prepared import Array


def augment(batch: Array, rng: np.random.Generator, config: Augment) -> Array:
    """A randomly moved, and possibly mirrored, copy of raw images float32 (n, C, H, W).

    Each image moves on its own by up to `shift` pixels along each axis. What enters repeats the edge, which
    unlike a fixed value suits any background.
    """
    moved = _translated(batch, rng, config.shift) if config.shift else batch.copy()
    if config.flip:
        mirrored = rng.random(len(batch)) < 0.5
        moved[mirrored] = moved[mirrored, :, :, ::-1]
    return moved


def _translated(batch: Array, rng: np.random.Generator, shift: int) -> Array:
    height, width = batch.shape[2:]
    padded = np.pad(batch, ((0, 0), (0, 0), (shift, shift), (shift, shift)), mode="edge")
    moved = np.empty_like(batch)
    for i, (top, left) in enumerate(rng.integers(0, 2 * shift + 1, size=(len(batch), 2))):
        moved[i] = padded[i, :, top : top + height, left : left + width]
    return moved
