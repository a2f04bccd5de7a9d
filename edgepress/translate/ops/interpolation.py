"""Which samples ONNX's Resize takes along one axis, and with which weights."""

from dataclasses import dataclass

import numpy as np

from edgepress.translate.plan import Array

_MODES = ("nearest", "linear", "cubic")
_COORDINATES = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
    "tf_crop_and_resize", "tf_half_pixel_for_nn",
)  # fmt: skip
_NATIVE = ((False, True), (False, False), (True, False))
Span = tuple[int, int, float]
"""Size before, size after, scale."""


@dataclass(frozen=True)
class Sampling:
    """The options of a Resize node, by ONNX's names."""

    mode: str
    coordinates: str
    rounding: str
    cubic: float
    inside_only: bool
    antialias: bool
    span: tuple[float, float] = (0.0, 1.0)
    """Which part of the axis is taken, as shares of its length; of tf_crop_and_resize alone."""

    def refusal(self) -> str | None:
        """Why this is not translated, if so."""
        if self.mode not in _MODES:
            return f"mode {self.mode!r}; expected {', '.join(_MODES)}"
        if self.coordinates not in _COORDINATES:
            return f"coordinate mode {self.coordinates!r}; expected {', '.join(_COORDINATES)}"
        return None

    def refusal_of(self, size: int, scale: float) -> str | None:
        """Why this scale of an axis is not translated, if so."""
        resized = round(size * scale, 4)
        if self.coordinates != "align_corners" or resized.is_integer():
            return None
        return (
            f"align_corners with {size}·{scale:g} samples, not a whole number: the standard and ONNX "
            "Runtime disagree there; give sizes instead of scales"
        )

    def native(self, spans: list[Span]) -> tuple[bool, bool] | None:
        """TFLite's (align_corners, half_pixel_centers) that takes the same samples, or None.

        Of several it is the one of the same formula, which also holds for other sizes.
        """
        if self.coordinates == "tf_crop_and_resize" or (self.antialias and any(s < 1 for *_, s in spans)):
            return None
        own = {"asymmetric": (False, False), "align_corners": (True, False)}.get(
            self.coordinates, (False, True)
        )
        for align, half in sorted(_NATIVE, key=lambda each: each != own):
            if all(self._agrees(span, align, half) for span in spans):
                return align, half
        return None

    def _agrees(self, span: Span, align: bool, half: bool) -> bool:
        size, wanted, scale = span
        if self.mode == "linear":
            ratio = (size - 1) / (wanted - 1) if align and wanted > 1 else size / wanted
            places = np.arange(wanted)
            x = (places + 0.5) * ratio - 0.5 if half else places * ratio
            wished = np.clip(coordinates(self, *span), 0, size - 1)
            return bool(np.allclose(np.clip(x, 0, size - 1), wished, atol=1e-6))
        return bool((_native_nearest(size, wanted, align, half) == nearest(self, size, wanted, scale)).all())


def _native_nearest(size: int, wanted: int, align: bool, half: bool) -> Array:
    """As TFLite's kernel takes samples, in float32, whose roundings decide (resize_nearest_neighbor.h)."""
    ratio = (
        np.float32(size - 1) / np.float32(wanted - 1) if align and wanted > 1 else size / np.float32(wanted)
    )
    x = (np.arange(wanted, dtype=np.float32) + np.float32(0.5 if half else 0)) * ratio
    below = np.floor(x)
    taken: Array = np.clip(below + (x - below >= 0.5) if align else below, 0, size - 1).astype(np.int64)
    return taken


def coordinates(sampling: Sampling, size: int, wanted: int, scale: float) -> Array:
    """Where each new sample lies among the old ones (ONNX, operator Resize), in float32 as in runtimes."""
    x: Array = np.arange(wanted, dtype=np.float32)
    if sampling.coordinates == "asymmetric":
        return x / scale
    if sampling.coordinates == "tf_half_pixel_for_nn":
        return (x + 0.5) / scale
    if sampling.coordinates == "align_corners":
        length = scale * size
        return x * (0 if length == 1 else (size - 1) / (length - 1))
    if sampling.coordinates == "tf_crop_and_resize":
        (start, end), last = sampling.span, size - 1
        if wanted == 1:
            return np.full_like(x, 0.5 * (start + end) * last)
        return start * last + x * ((end - start) * last / (wanted - 1))
    if sampling.coordinates == "pytorch_half_pixel" and scale * size <= 1:
        return np.full_like(x, -0.5)
    centred: Array = (x + 0.5) / scale - 0.5
    if sampling.coordinates == "half_pixel_symmetric":
        centred += size / 2 * (1 - wanted / (scale * size))
    return centred


def nearest(sampling: Sampling, size: int, wanted: int, scale: float) -> Array:
    """The index of the old sample that each new one copies."""
    x = coordinates(sampling, size, wanted, scale)
    rounded = {
        "round_prefer_floor": np.ceil(x - 0.5),
        "round_prefer_ceil": np.floor(x + 0.5),
        "floor": np.floor(x),
        "ceil": np.ceil(x),
    }[sampling.rounding]
    taken: Array = np.clip(rounded, 0, size - 1).astype(np.int64)
    return taken


def weighted(sampling: Sampling, size: int, wanted: int, scale: float) -> tuple[Array, Array]:
    """Indices and weights, each (taps, wanted), of the old samples that make up each new one."""
    x = coordinates(sampling, size, wanted, scale)
    if sampling.antialias and scale < 1:
        return _smooth(sampling, x, size, scale)
    base = np.floor(x)
    ratio = x - base
    if sampling.mode == "linear":
        offsets, weights = np.arange(2), np.stack([1 - ratio, ratio])
    else:
        offsets, weights = np.arange(-1, 3), _cubic(ratio, sampling.cubic)
    places = base[None] + offsets[:, None]
    if sampling.inside_only:
        weights = np.where((places >= 0) & (places < size), weights, 0)
        weights = weights / weights.sum(axis=0)
    return np.clip(places, 0, size - 1).astype(np.int64), weights


def outside(sampling: Sampling, size: int, wanted: int, scale: float) -> Array:
    """Which new samples lie beyond the old ones."""
    x = coordinates(sampling, size, wanted, scale)
    return np.asarray((x < 0) | (x > size - 1))


def _smooth(sampling: Sampling, x: Array, size: int, scale: float) -> tuple[Array, Array]:
    """Of a filter that is as much wider as the image gets smaller (ONNX's reference of Resize)."""
    reach = 1 if sampling.mode == "linear" else 2
    start = int(np.floor(-reach / scale) + 1)
    offsets = np.arange(start, 2 - start)
    base = np.ceil(x) - 1
    far = np.abs(offsets[:, None] - (x - base)[None]) * scale
    a = sampling.cubic
    if sampling.mode == "linear":
        weights = np.clip(1 - far, 0, 1)
    else:
        near = ((a + 2) * far - (a + 3)) * far * far + 1
        rest = np.where(far < 2, ((a * far - 5 * a) * far + 8 * a) * far - 4 * a, 0)
        weights = np.where(far <= 1, near, rest)
    weights = weights / weights.sum(axis=0)
    places = base[None] + offsets[:, None]
    if sampling.inside_only:
        weights = np.where((places >= 0) & (places < size), weights, 0)
        weights = weights / weights.sum(axis=0)
    return np.clip(places, 0, size - 1).astype(np.int64), weights


def _cubic(ratio: Array, a: float) -> Array:
    """Keys' cubic convolution at distances 1+r, r, 1−r, 2−r."""

    def near(d: Array) -> Array:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d: Array) -> Array:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return np.stack([far(1 + ratio), near(ratio), near(1 - ratio), far(2 - ratio)])
