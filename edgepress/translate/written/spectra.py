"""Fourier transforms, as products with matrices of sines and cosines."""

import numpy as np
from onnx import TensorProto

from edgepress.translate.plan import Array
from edgepress.translate.written.body import Body, Writer


def _waves(count: int, length: int, places: int, sign: float) -> tuple[Array, Array]:
    """cos and sin of 2πnk/length for the first `count` elements n, and `places` frequencies k."""
    used = min(count, length)
    angles = 2 * np.pi * (np.outer(np.arange(used), np.arange(places)) % length) / length
    waves = np.zeros((2, count, places))
    waves[:, :used] = np.cos(angles), sign * np.sin(angles)
    return waves[0].astype(np.float32), waves[1].astype(np.float32)


def _int(b: Body, index: int) -> int:
    """A number that operand `index` holds."""
    value = b.constant(index)
    if value is None:
        raise b.refused(f"its input {index} ({b.inputs[index]}) is not a constant")
    return int(value.item())


def _parts(b: Body, x: str, rank: int) -> list[str]:
    """The real part, and the imaginary one if there is one, without their axis."""
    return [b("Gather", x, np.int64(part), axis=rank - 1) for part in range(b.shape()[-1] or 1)]


def _dft(b: Body) -> None:
    """Of the axis, which is put last for the product; behind it lie the real and the imaginary parts."""
    x, rank, given = b.inputs[0], len(b.shape()), b.attributes
    axis = _int(b, 2) if b.has(2) else given.get("axis", 1 if b.opset < 20 else -2)
    axis %= rank
    count = b.shape()[axis]
    if count is None:
        raise b.refused(f"the size of its axis {axis} is open")
    inverse, onesided = bool(given.get("inverse", 0)), bool(given.get("onesided", 0))
    length = _int(b, 1) if b.has(1) else 2 * (count - 1) if inverse and onesided else count
    order = [place for place in range(rank - 1) if place != axis] + [axis]
    parts = [b("Transpose", part, perm=order) for part in _parts(b, x, rank)]
    if inverse and onesided:
        made = [_real_inverse(b, parts, count, length)]
    else:
        places = length // 2 + 1 if onesided else length
        made = _transformed(b, parts, _waves(count, length, places, 1 if inverse else -1))
        made = [b("Mul", part, np.float32(1 / length)) for part in made] if inverse else made
    back = [order.index(place) for place in range(rank - 1)]
    ends = [b("Unsqueeze", b("Transpose", part, perm=back), np.array([rank - 1])) for part in made]
    b.gives("Concat", *ends, axis=rank - 1)


def _transformed(b: Body, parts: list[str], waves: tuple[Array, Array]) -> list[str]:
    """(a + bi)(cos + i·sin) of the last axis."""
    cosines, sines = waves
    if len(parts) == 1:
        return [b("MatMul", parts[0], cosines), b("MatMul", parts[0], sines)]
    real, imaginary = parts
    return [
        b("Sub", b("MatMul", real, cosines), b("MatMul", imaginary, sines)),
        b("Add", b("MatMul", real, sines), b("MatMul", imaginary, cosines)),
    ]


def _real_inverse(b: Body, parts: list[str], count: int, length: int) -> str:
    """Of half of the frequencies: each but the first, and the last of an even length, stands for two."""
    cosines, sines = (wave.T for wave in _waves(length, length, length // 2 + 1, 1))
    weights = np.full((len(cosines), 1), 2 / length, np.float32)
    weights[0] = 1 / length
    if length % 2 == 0:
        weights[-1] = 1 / length
    fit = [np.zeros((count, length), np.float32) for _ in range(2)]
    used = min(count, len(cosines))
    fit[0][:used], fit[1][:used] = (cosines * weights)[:used], (sines * weights)[:used]
    real = b("MatMul", parts[0], fit[0])
    return b("Sub", real, b("MatMul", parts[1], fit[1])) if len(parts) > 1 else real


def _stft(b: Body) -> None:
    """Frames of the signal (batch, length, 1 or 2), times the window, each transformed."""
    step = _int(b, 1)
    windowed = b.has(2)
    size = _int(b, 3) if b.has(3) else int(b.shape(2)[0] or 0) if windowed else int(b.shape()[1] or 0)
    total = b.shape()[1]
    if total is None:
        raise b.refused("the length of its signal is open")
    frames = (total - size) // step + 1
    places = np.arange(frames)[:, None] * step + np.arange(size)
    signal = b("Gather", b.inputs[0], places.astype(np.int64), axis=1)
    parts = _parts(b, signal, 4) if len(b.shape()) == 3 else [signal]
    parts = [b("Mul", part, b.inputs[2]) for part in parts] if windowed else parts
    count = size // 2 + 1 if b.attributes.get("onesided", 1) else size
    made = _transformed(b, parts, _waves(size, size, count, -1))
    ends = [b("Unsqueeze", part, np.array([3])) for part in made]
    b.gives("Concat", *ends, axis=3)


def _mel_weights(b: Body) -> None:
    """Triangles over the frequencies of a spectrum, whose corners lie evenly on the scale of mels."""
    bins, length, rate, low, high = b.inputs
    one, mels = np.float32(1), np.float32(2595)
    kind = TensorProto.FLOAT
    wide, count = b("Cast", length, to=kind), b("Cast", bins, to=TensorProto.INT64)
    ends = [_mel(b, b("Cast", end, to=kind)) for end in (low, high)]
    step = b("Div", b("Sub", ends[1], ends[0]), b("Cast", b("Add", count, np.int64(2)), to=kind))

    def corner(number: int) -> str:
        """The row of each column's corner: the first, the peak or the last."""
        place = b("Range", np.int64(number), b("Add", count, np.int64(number)), np.int64(1))
        mel = b("Add", b("Mul", b("Cast", place, to=kind), step), ends[0])
        hertz = b("Mul", b("Sub", b("Pow", np.float32(10), b("Div", mel, mels)), one), np.float32(700))
        scaled = b("Mul", b("Add", wide, one), hertz)
        return b("Floor", b("Div", scaled, b("Cast", rate, to=kind)))

    first, peak, last = (corner(number) for number in range(3))
    half = b("Cast", b("Floor", b("Mul", wide, np.float32(0.5))), to=TensorProto.INT64)
    rows = b("Range", np.int64(0), b("Add", half, np.int64(1)), np.int64(1))
    row = b("Unsqueeze", b("Cast", rows, to=kind), np.array([1]))
    up, down = b("Sub", peak, first), b("Sub", last, peak)
    rising = b("Div", b("Sub", row, first), b("Max", up, one))
    rising = b("Where", b("Equal", up, np.float32(0)), b("Cast", b("Equal", row, peak), to=kind), rising)
    rising = b("Where", _within(b, row, first, b("Add", peak, one)), rising, np.float32(0))
    falling = b("Div", b("Sub", last, row), b("Max", down, one))
    made = b("Where", _within(b, row, peak, last), falling, rising)
    b.gives("Cast", made, to=b.attributes.get("output_datatype", int(kind)))


def _mel(b: Body, hertz: str) -> str:
    """2595·log₁₀(1 + f/700)."""
    above = b("Add", b("Div", hertz, np.float32(700)), np.float32(1))
    return b("Mul", b("Log", above), np.float32(2595 / np.log(10)))


def _within(b: Body, row: str, low: str, high: str) -> str:
    return b("And", b("Not", b("Less", row, low)), b("Less", row, high))


WRITERS: dict[str, Writer] = {"DFT": _dft, "STFT": _stft, "MelWeightMatrix": _mel_weights}
