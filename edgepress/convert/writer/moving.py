"""Steps that move numbers, change how many there are, or quantise them."""

from collections.abc import Callable
from typing import Any

from edgepress.convert.writer.builder import Builder
from edgepress.convert.writer.elementwise import joined
from edgepress.convert.writer.graph import Tensor
from edgepress.convert.writer.lowering import Lowering, Rule, codes_of, on_grid
from edgepress.graph.ties import ASIDE
from edgepress.translate.origins import transpose_note
from edgepress.translate.plan import Step

Move = Callable[..., Tensor]


def _rule(move: Move) -> Rule:
    """A move is the same of numbers and of codes."""

    def integers(low: Lowering, step: Step) -> Tensor | None:
        x = low.code(step.inputs[0])
        return None if x is None else move(low.build, x, **step.attributes)

    return Rule(
        lambda low, step: move(low.build, low.number(step.inputs[0]), **step.attributes), integers, True
    )


def _reshape(build: Builder, x: Tensor, shape: Any) -> Tensor:
    return build.reshape(x, shape)


def _transpose(low: Lowering, step: Step) -> Tensor:
    return _turned(low, step, low.number(step.inputs[0]))


def _coded_transpose(low: Lowering, step: Step) -> Tensor | None:
    x = low.code(step.inputs[0])
    return None if x is None else _turned(low, step, x)


def _turned(low: Lowering, step: Step, x: Tensor) -> Tensor:
    """Its note says why it is there."""
    made = low.build.transpose(x, step.attributes["order"])
    maker = low.build.maker(made)
    if made is not x and maker is not None and maker.kind == "TRANSPOSE":
        maker.note = transpose_note(step)
    return made


def _cut(build: Builder, x: Tensor, begin: Any, end: Any, strides: Any) -> Tensor:
    """For each axis the span [begin, end) in steps of its stride; None means the whole axis."""
    if x.ragged:
        return _ragged_cut(build, x, begin, end, strides)
    spans = [
        slice(*span).indices(n)
        for span, n in zip(zip(begin, end, strides, strict=True), x.shape, strict=True)
    ]
    return build.strided_slice(x, *zip(*((a, max(a, b), c) for a, b, c in spans), strict=True))


def _ragged_cut(build: Builder, x: Tensor, begin: Any, end: Any, strides: Any) -> Tensor:
    spans = zip(begin, end, strides, x.shape, strict=True)
    sizes = [max(1, len(range(*slice(*span).indices(n)))) for *span, n in spans]
    masks = [sum(1 << axis for axis, place in enumerate(ends) if place is None) for ends in (begin, end)]
    operands = [x, *(build.integers([place or 0 for place in places]) for places in (begin, end, strides))]
    options = {"begin_mask": masks[0], "end_mask": masks[1]}
    return build.add("STRIDED_SLICE", operands, sizes, x.dtype, x.codes, **options)


def _pad(low: Lowering, step: Step) -> Tensor:
    """Of 8 or 16 bits that are no codes, TFLite pads in int32."""
    build, x = low.build, low.number(step.inputs[0])
    pads, fill = step.attributes["pads"], step.attributes["fill"]
    if x.dtype in ("int8", "uint8", "int16"):
        return build.cast(build.pad(build.cast(x, "int32"), pads, fill), x.dtype)
    return build.pad(x, pads, fill)


def _coded_pad(low: Lowering, step: Step) -> Tensor | None:
    """In codes that have one for the border: those that are wanted behind it, or the operand's.

    A maximum takes none of the border if that has the lowest code, and is meant to be lower than all.
    """
    name, pads, fill = step.inputs[0], step.attributes["pads"], step.attributes["fill"]
    x, wanted = low.code(name), low.wanted.get(step.output)
    if x is None or x.codes is None:
        return None
    if not fill or on_grid(fill, x.codes) or (fill < _BELOW_ALL and low.read_by(step.output) <= _MAXIMA):
        return low.build.pad(x, pads, fill)
    return None if wanted is None else low.build.pad(low.requantised(name, wanted), pads, fill)


_BELOW_ALL = -1e38
_MAXIMA = {"max_pool", "max_of_views"}


def _mirrored(build: Builder, x: Tensor, pads: Any, mode: str) -> Tensor:
    return build.mirror_pad(x, pads, mode)


def _tile(build: Builder, x: Tensor, multiples: Any) -> Tensor:
    return build.tile(x, multiples)


def _depth_to_space(build: Builder, x: Tensor, block: int) -> Tensor:
    n, height, width, channels = x.shape
    shape = (n, height * block, width * block, channels // (block * block))
    return build.add("DEPTH_TO_SPACE", [x], shape, x.dtype, x.codes, block_size=block)


def _space_to_depth(build: Builder, x: Tensor, block: int) -> Tensor:
    n, height, width, channels = x.shape
    shape = (n, height // block, width // block, channels * block * block)
    return build.add("SPACE_TO_DEPTH", [x], shape, x.dtype, x.codes, block_size=block)


def _gather(low: Lowering, step: Step) -> Tensor:
    x, axis = low.stored(step.inputs[0]), step.attributes["axis"]
    indices = low.number(step.inputs[1]) if len(step.inputs) > 1 else step.weights["indices"].values
    return low.build.gather(x, indices, axis)


def _concat(low: Lowering, step: Step) -> Tensor:
    return low.build.concat(low.numbers(step), step.attributes["axis"])


def _coded_concat(low: Lowering, step: Step) -> Tensor | None:
    parts = joined(low, step, step.inputs)
    return None if parts is None else low.build.concat(parts, step.attributes["axis"])


def resized(build: Builder, x: Tensor, size: Any, linear: bool, align: bool, half: bool) -> Tensor:
    """By TFLite's own kernels, which keep the codes."""
    kind = "RESIZE_BILINEAR" if linear else "RESIZE_NEAREST_NEIGHBOR"
    shape = (x.shape[0], *size, x.shape[3])
    options = {"align_corners": align, "half_pixel_centers": half}
    return build.add(kind, [x, build.integers(size)], shape, x.dtype, x.codes, **options)


def _coded_resized(low: Lowering, step: Step) -> Tensor | None:
    """Means of neighbours are rounded to codes, so only where the result is quantised.

    To a size that is computed LiteRT's own kernel goes, not XNNPACK's. In integers it counts places in 1/1024
    of a pixel, and is several codes off where the image is large. That of floats is right; halves of a step
    are raised as in `edgepress.graph.ties`.
    """
    x, wanted = low.code(step.inputs[0]), low.wanted.get(step.output)
    if x is None or (step.attributes["linear"] and wanted is None):
        return None
    if step.attributes["linear"] and wanted is not None and low.build.any_size:
        made = resized(low.build, low.number(step.inputs[0]), **step.attributes)
        return low.build.plus(made, ASIDE * float(wanted.scale.item()))
    return resized(low.build, x, **step.attributes)


def _weighted(low: Lowering, step: Step) -> Tensor:
    """The sum of elements at indices[k] of one axis times weights[k]: interpolation along it."""
    build, x, axis = low.build, low.number(step.inputs[0]), step.attributes["axis"]
    shape = [1] * len(x.shape)
    shape[axis] = -1
    total: Tensor | None = None
    places, weights = step.weights["indices"].values, step.weights["weights"].values
    for indices, factors in zip(places, weights, strict=True):
        term = build.times(build.gather(x, indices, axis), factors.reshape(shape))
        total = term if total is None else build.plus(total, term)
    assert total is not None
    return total


def _fake_quant(low: Lowering, step: Step) -> Tensor:
    return low.requantised(step.inputs[0], codes_of(step))


def _quantised(low: Lowering, step: Step) -> Tensor:
    """Codes of a tensor as whole numbers: round half to even, shift by the zero point, saturate."""
    a, build, x = step.attributes, low.build, low.number(step.inputs[0])
    codes = build.unary("ROUND", build.over(x, step.weights["scale"].values))
    codes = build.plus(codes, step.weights["zero"].values)
    codes = build.binary("MINIMUM", build.binary("MAXIMUM", codes, a["low"]), a["high"])
    return build.cast(codes, a["dtype"])


def _dequantised(low: Lowering, step: Step) -> Tensor:
    build, x = low.build, low.number(step.inputs[0])
    shifted = build.minus(build.cast(x, "float32"), step.weights["zero"].values)
    return build.times(shifted, step.weights["scale"].values)


def _constant(low: Lowering, step: Step) -> Tensor:
    weight = step.weights["value"]
    coded = low.coded_operand(weight)
    return low.operand(weight) if coded is None else coded


RULES = {
    "constant": Rule(_constant),
    "reshape": _rule(_reshape),
    "transpose": Rule(_transpose, _coded_transpose, commutes=True),
    "cut": _rule(_cut),
    "pad": Rule(_pad, _coded_pad, commutes=True),
    "mirrored": _rule(_mirrored),
    "tile": _rule(_tile),
    "depth_to_space": _rule(_depth_to_space),
    "space_to_depth": _rule(_space_to_depth),
    "gather": Rule(_gather, _gather, commutes=True),
    "concat": Rule(_concat, _coded_concat, commutes=True),
    "resized": Rule(
        lambda low, step: resized(low.build, low.number(step.inputs[0]), **step.attributes), _coded_resized
    ),
    "weighted": Rule(_weighted),
    "fake_quant": Rule(_fake_quant),
    "quantised": Rule(_quantised),
    "dequantised": Rule(_dequantised),
}
