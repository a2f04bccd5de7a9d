"""scikit-learn's handwritten digits: 1797 images, 8×8, 17 grey levels, part of the package itself."""

import numpy as np
from sklearn.datasets import load_digits

from edgepress.config.data import Digits
from edgepress.datasets.dataset import Dataset
from edgepress.datasets.prepared import Array

_WHITE = 16  # the largest grey level in the original


def load(config: Digits) -> Dataset:
    """The digits, resized and scaled to 0..255; every channel holds the same image."""
    bunch = load_digits()
    images = resize(bunch.images, config.size) * (255 / _WHITE)
    grey = np.rint(images).astype(np.uint8)[:, np.newaxis]
    return Dataset(
        x=np.repeat(grey, config.channels, axis=1),
        y=bunch.target.astype(np.int64),
        class_names=tuple(str(name) for name in bunch.target_names),
        value_range=(0.0, 255.0),
        source="scikit-learn load_digits: test set of the UCI Optical Recognition of Handwritten Digits, "
        "E. Alpaydin and C. Kaynak, https://doi.org/10.24432/C50P49",
        licence="CC BY 4.0",
    )


def resize(images: Array, size: int) -> Array:
    """Bilinear resizing of square images (N, S, S) to (N, size, size), pixel centres aligned.

    An output pixel beyond the outermost centres takes the edge's value.
    """
    weights = _interpolation(images.shape[-1], size)
    return np.asarray(weights @ images @ weights.T)


def _interpolation(old: int, new: int) -> Array:
    """The matrix (new, old) that interpolates linearly between `old` evenly spaced samples."""
    centres = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    distances = np.abs(centres[:, np.newaxis] - np.arange(old))
    return np.asarray(np.maximum(0, 1 - distances))
