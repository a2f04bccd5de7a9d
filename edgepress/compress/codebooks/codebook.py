"""Codebooks shared by kernels whose channels are first divided by a scale of their own.

kernel[..., c] = codebook[index[..., c]] · scale[c]

Zero and ±1 are always in the codebook, each channel's largest weight is one of ±1, and all values are
multiples of 1/127. So int8 with one scale per channel stores exactly the codebook: clusters survive.
Fitting alternates weighted k-means over all kernels with least-squares scales. The k-means may weigh the
bits that a value costs against its error (entropy-constrained scalar quantisation: Chou, Lookabaugh, Gray,
IEEE Trans. ASSP 37, 1989; for networks: Choi, El-Khamy, Lee, arXiv:1612.01543), which makes codes that
gzip packs tighter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgepress.datasets.prepared import Array

PINNED = np.array([0.0, 1.0, -1.0])
LEVELS = 127
_ALTERNATIONS = 3
_LLOYD_STEPS = 15
_CHUNK = 65536
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


def fit_codebook(kernels: Sequence[Array], clusters: int, entropy_weight: float = 0.0) -> Codebook:
    """Fit one codebook of at most `clusters` values to kernels (rows, channels); exact zeros stay zero.

    `entropy_weight` is the squared error, relative to a kernel's mean square, that a bit saved may cost.
    """
    scales = [_or_one(np.abs(kernel).max(axis=0)) for kernel in kernels]
    book = _fit(kernels, scales, clusters, entropy_weight)
    for _ in range(_ALTERNATIONS - 1):
        scales = [_least_squares(k, c, book.values) for k, c in zip(kernels, book.kernels, strict=True)]
        book = _fit(kernels, scales, clusters, entropy_weight)
    return book


def _fit(kernels: Sequence[Array], scales: Sequence[Array], clusters: int, entropy_weight: float) -> Codebook:
    """The best codebook for given scales."""
    average = sum(kernel.size for kernel in kernels) / len(kernels)
    samples = [_Samples.of(k, s, average / k.size) for k, s in zip(kernels, scales, strict=True)]
    centres = _k_means(_Samples.together(samples), clusters, entropy_weight)
    coded = tuple(_encode(*each, centres) for each in zip(kernels, scales, samples, strict=True))
    return Codebook(centres.values.astype(np.float32), coded)


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


@dataclass(frozen=True)
class _Samples:
    """Non-zero weights divided by their channel's scale, and what an error in each weighs.

    What counts is the error of each kernel relative to its energy, whatever its size: that is the noise in
    what the layer gives.
    """

    values: Array
    importance: Array

    @classmethod
    def of(cls, kernel: Array, scale: Array, share: float) -> "_Samples":
        """`share` is the average size of a kernel over this one's."""
        energy = float((kernel**2).mean()) or 1.0
        present = kernel != 0
        importance = np.broadcast_to(share * scale**2 / energy, kernel.shape)
        return cls(np.clip(kernel / scale, -1, 1)[present], importance[present])

    @classmethod
    def together(cls, parts: "Sequence[_Samples]") -> "_Samples":
        return cls(
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.importance for part in parts]),
        )


@dataclass(frozen=True)
class _Centres:
    """A codebook, `PINNED` first, and the cost of each value but zero: its bits times the entropy weight."""

    values: Array
    costs: Array

    def nearest(self, samples: _Samples) -> Array:
        """For each sample the index into `values` of the cheapest value, error and bits together."""
        chosen = np.empty(len(samples.values), np.int32)
        for start in range(0, len(chosen), _CHUNK):
            part = slice(start, start + _CHUNK)
            error = (samples.values[part, None] - self.values[1:]) ** 2
            chosen[part] = 1 + (samples.importance[part, None] * error + self.costs).argmin(axis=1)
        return chosen


def _k_means(samples: _Samples, clusters: int, entropy_weight: float) -> _Centres:
    """Weighted 1-D k-means with ±1 pinned, its values in the end snapped to multiples of 1/127."""
    count = clusters - len(PINNED)
    free, costs = np.linspace(-1, 1, count + 2)[1:-1], np.zeros(count + 2)
    if not len(samples.values):
        return _Centres(np.concatenate([PINNED, free]), costs)
    free = (np.quantile(samples.values, np.linspace(0.02, 0.98, count)) + free) / 2
    for _ in range(_LLOYD_STEPS):
        nearest = _Centres(np.concatenate([PINNED, free]), costs).nearest(samples)
        used = np.bincount(nearest, minlength=clusters)[1:]
        mass = np.bincount(nearest, samples.importance, clusters)[len(PINNED) :]
        moment = np.bincount(nearest, samples.importance * samples.values, clusters)[len(PINNED) :]
        free = np.where(mass > 0, moment / np.where(mass > 0, mass, 1), free)
        costs = -entropy_weight * np.log2(np.maximum(used, 0.5) / len(nearest))
    return _Centres(np.concatenate([PINNED, np.round(free * LEVELS) / LEVELS]), costs)


def _encode(kernel: Array, scale: Array, samples: _Samples, centres: _Centres) -> Coded:
    index = np.zeros(kernel.shape, np.int32)
    index[kernel != 0] = centres.nearest(samples)
    largest = np.abs(kernel).argmax(axis=0)
    channels = np.arange(kernel.shape[1])
    top = kernel[largest, channels]
    index[largest, channels] = np.where(top > 0, 1, np.where(top < 0, 2, 0))
    return Coded(index, scale.astype(np.float32))


def _least_squares(kernel: Array, coded: Coded, codebook: Array) -> Array:
    chosen, largest = codebook[coded.index], np.abs(kernel).max(axis=0)
    fitted = (kernel * chosen).sum(axis=0) / np.maximum((chosen**2).sum(axis=0), 1e-12)
    return np.where(largest > 0, np.maximum(fitted, _SMALLEST_SCALE * largest), 1.0)
