"""Realistic inputs without a download: crops of the two photographs that come with scikit-learn.

A photograph is cut into five places; which of the ten a crop lies at is its class, so a classifier has
something to tell apart.
"""

from functools import lru_cache

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

CLASSES = 10
_PLACES = ((0.0, 0.0), (0.0, 0.5), (0.5, 0.0), (0.5, 0.5), (0.25, 0.25))


def crops(count: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Crops, moved, scaled and brightened at random, and their classes.

    Returns:
        Inputs (count, 3, size, size) float32, scaled as ImageNet's usually are, and classes (count,).
    """
    generator = np.random.default_rng(seed)
    classes = np.arange(count) % CLASSES
    images = np.stack([_crop(_photos()[c // 5], _PLACES[c % 5], size, generator) for c in classes])
    return _normalised(images), classes


def crop(generator: np.random.Generator, size: int) -> np.ndarray:
    """One such crop (1, 3, size, size) from a place drawn at random."""
    place = int(generator.integers(CLASSES))
    square = _crop(_photos()[place // 5], _PLACES[place % 5], size, generator)
    return _normalised(square[None])


@lru_cache
def _photos() -> list[np.ndarray]:
    photos: list[np.ndarray] = load_sample_images().images
    return photos


def _normalised(images: np.ndarray) -> np.ndarray:
    """(n, size, size, 3) in 0..255 → (n, 3, size, size)."""
    normalised = (images / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2), np.float32)


def _crop(
    photo: np.ndarray, place: tuple[float, float], size: int, generator: np.random.Generator
) -> np.ndarray:
    """A square of about half the photograph's height near `place`, (size, size, 3) in 0..255."""
    height, width, _ = photo.shape
    side = int(height * generator.uniform(0.35, 0.5))
    top, left = (
        int(np.clip(at * extent + generator.uniform(-0.08, 0.08) * extent, 0, extent - side))
        for at, extent in zip(place, (height, width), strict=True)
    )
    square = Image.fromarray(photo[top : top + side, left : left + side]).resize((size, size))
    return np.clip(np.asarray(square, np.float64) * generator.uniform(0.7, 1.3), 0, 255)
