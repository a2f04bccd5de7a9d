"""Codebooks shared by kernels whose channels are first divided by a scale of their own.

kernel[..., c] = codebook[index[..., c]] · scale[c]

Zero and ±1 are always in the codebook, each channel's largest weight is one of ±1, and all values are
multiples of 1/127. So int8 with one scale per channel stores exactly the codebook: clusters survive.
Fitting alternates weighted k-means over all kernels with least-squares scales.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgepress.datasets.prepared import Array

PINNED = np.array([0.0, 1.0, -1.0])
LEVELS = 127
_ALTERNATIONS = 3
_LLOYD_STEPS = 15
_SMALLEST_SCALE = 0.5
"""A channel's scale stays above this share of its largest weight, or that weight would be cut too far."""


@dataclass(frozen=True)
class Coded:
    """One kernel: `index` (rows, channels) into the codebook and `scale` (channels,)."""

    index: Array
    scale: Array

    def values(self, codebook: Array) -> Array:
        """The kernel (rows, channels), float32."""
        values: Array = (codebook[self.index] * self.scale).astype(np.float32)
        return values


@dataclass(frozen=True)
class Codebook:
    """`values` starts with `PINNED`; `kernels` are in the order they were given."""

    values: Array
    kernels: tuple[Coded, ...]


def fit_codebook(kernels: Sequence[Array], clusters: int) -> Codebook:
    """Fit one codebook of `clusters` values to kernels (rows, channels); exact zeros stay zero."""
    scales = [_or_one(np.abs(kernel).max(axis=0)) for kernel in kernels]
    energies = [float((kernel**2).mean()) or 1.0 for kernel in kernels]
    codebook, coded = PINNED, list[Coded]()
    for turn in range(_ALTERNATIONS):
        samples = [np.clip(k / s, -1, 1)[k != 0] for k, s in zip(kernels, scales, strict=True)]
        importance = [
            np.broadcast_to(s**2 / e, k.shape)[k != 0]
            for k, s, e in zip(kernels, scales, energies, strict=True)
        ]
        codebook = _lloyd(np.concatenate(samples), np.concatenate(importance), clusters)
        coded = [_encode(k, s, codebook) for k, s in zip(kernels, scales, strict=True)]
        if turn < _ALTERNATIONS - 1:
            scales = [_least_squares(k, c, codebook) for k, c in zip(kernels, coded, strict=True)]
    return Codebook(codebook.astype(np.float32), tuple(coded))


def find_codebook(kernels: Sequence[Array], clusters: int) -> Codebook | None:
    """The codebook that kernels (rows, channels) already share, or None if they have more than `clusters`.

    Looked for both ways: over channels divided by their largest magnitudes, and over whole tensors.
    """
    for scales in (
        [_or_one(np.abs(k).max(axis=0)) for k in kernels],
        [np.full(k.shape[1], np.abs(k).max() or 1.0) for k in kernels],
    ):
        codes = [np.round(k / s * LEVELS).astype(np.int64) for k, s in zip(kernels, scales, strict=True)]
        present = np.unique(np.concatenate([c.reshape(-1) for c in codes]))
        free = np.setdiff1d(present, PINNED * LEVELS)
        if len(present) <= clusters:
            return _from_codes(codes, scales, free)
    return None


def _from_codes(codes: Sequence[Array], scales: Sequence[Array], free: Array) -> Codebook:
    book = np.concatenate([PINNED * LEVELS, free])
    order = np.argsort(book)
    coded = tuple(
        Coded(order[np.searchsorted(book[order], c)].astype(np.int32), s.astype(np.float32))
        for c, s in zip(codes, scales, strict=True)
    )
    return Codebook((book / LEVELS).astype(np.float32), coded)


def _or_one(magnitudes: Array) -> Array:
    scales: Array = np.where(magnitudes > 0, magnitudes, 1.0).astype(np.float64)
    return scales


def _lloyd(samples: Array, importance: Array, clusters: int) -> Array:
    """Weighted 1-D k-means with ±1 pinned; returns the codebook, snapped to multiples of 1/127."""
    count = clusters - len(PINNED)
    if not len(samples):
        return np.concatenate([PINNED, np.linspace(-0.9, 0.9, count)])
    free = (np.quantile(samples, np.linspace(0.02, 0.98, count)) + np.linspace(-1, 1, count + 2)[1:-1]) / 2
    for _ in range(_LLOYD_STEPS):
        centres = np.concatenate([PINNED[1:], free])
        nearest = _nearest(samples, centres)
        mass = np.bincount(nearest, importance, len(centres))[2:]
        moment = np.bincount(nearest, importance * samples, len(centres))[2:]
        free = np.where(mass > 0, moment / np.where(mass > 0, mass, 1), free)
    return np.concatenate([PINNED, np.round(free * LEVELS) / LEVELS])


def _nearest(samples: Array, centres: Array) -> Array:
    order = np.argsort(centres, kind="stable")
    bounds = (centres[order][1:] + centres[order][:-1]) / 2
    nearest: Array = order[np.searchsorted(bounds, samples)]
    return nearest


def _encode(kernel: Array, scale: Array, codebook: Array) -> Coded:
    index = np.where(kernel != 0, 1 + _nearest(kernel / scale, codebook[1:]), 0)
    largest = np.abs(kernel).argmax(axis=0)
    channels = np.arange(kernel.shape[1])
    top = kernel[largest, channels]
    index[largest, channels] = np.where(top > 0, 1, np.where(top < 0, 2, 0))
    return Coded(index.astype(np.int32), scale.astype(np.float32))


def _least_squares(kernel: Array, coded: Coded, codebook: Array) -> Array:
    chosen, largest = codebook[coded.index], np.abs(kernel).max(axis=0)
    fitted = (kernel * chosen).sum(axis=0) / np.maximum((chosen**2).sum(axis=0), 1e-12)
    return np.where(largest > 0, np.maximum(fitted, _SMALLEST_SCALE * largest), 1.0)
