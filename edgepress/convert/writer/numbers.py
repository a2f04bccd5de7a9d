"""Whole numbers, their bits and signs, and what is counted or found along an axis.

Which types each kernel takes was found out by running LiteRT 2.3.
"""

from collections.abc import Callable

import numpy as np

from edgepress.convert.writer.builder import Builder, Operand
from edgepress.convert.writer.graph import Tensor
from edgepress.convert.writer.lowering import Lowering, Rule
from edgepress.convert.writer.words import in_words, pair
from edgepress.translate.plan import Step


def _worded(function: Callable[[Builder, Tensor], Tensor]) -> Callable[[Lowering, Step], Tensor]:
    """A function of one tensor, of integers of few bits or without a sign in wider ones."""

    def lower(low: Lowering, step: Step) -> Tensor:
        small, (x,) = in_words(low.build, (low.number(step.inputs[0]),))
        assert isinstance(x, Tensor)
        made = function(low.build, x)
        return low.build.cast(made, small) if small else made

    return lower


def absolute(build: Builder, x: Tensor) -> Tensor:
    """The magnitude; ABS has no int64."""
    return build.binary("MAXIMUM", x, build.unary("NEG", x)) if x.dtype == "int64" else build.unary("ABS", x)


def sign(build: Builder, x: Tensor) -> Tensor:
    """1, 0 or −1; SIGN has no int64."""
    if x.dtype != "int64":
        return build.unary("SIGN", x)
    above, below = (
        build.cast(build.binary(kind, x, 0, dtype="bool"), "int64") for kind in ("GREATER", "LESS")
    )
    return build.minus(above, below)


def whole_quotient(build: Builder, x: Tensor, y: Tensor) -> Tensor:
    """x/y towards zero; FLOOR_DIV has no int64, so there floats approach it."""
    signs = build.times(sign(build, x), sign(build, y))
    x, y = absolute(build, x), absolute(build, y)
    if x.dtype != "int64":
        return build.times(build.binary("FLOOR_DIV", x, y), signs)
    rest = build.minus(x, build.binary("FLOOR_MOD", x, y))
    divisor, total = build.cast(y, "float32"), None
    for _ in range(_APPROACHES):
        near = build.unary("ROUND", build.over(build.cast(rest, "float32"), divisor))
        part = build.cast(near, "int64")
        total = part if total is None else build.plus(total, part)
        rest = build.minus(rest, build.times(part, y))
    assert total is not None
    return build.times(total, signs)


_APPROACHES = 4
"""Each leaves 2⁻²² of the quotient."""


def _fmod(low: Lowering, step: Step) -> Tensor:
    """The remainder with the sign of the dividend."""
    build = low.build
    small, operands = in_words(build, pair(low, step))
    x, y = (build.constant(each) for each in operands)
    made = build.times(sign(build, x), build.binary("FLOOR_MOD", absolute(build, x), absolute(build, y)))
    return build.cast(made, small) if small else made


def _bits(function: Callable[[Builder, Tensor, Tensor], Tensor]) -> Callable[[Lowering, Step], Tensor]:
    def lower(low: Lowering, step: Step) -> Tensor:
        x, y = (low.build.constant(each) for each in pair(low, step))
        return function(low.build, x, y)

    return lower


def _and(build: Builder, x: Operand, y: Operand) -> Tensor:
    """The one kernel of bits that takes int64; it does not broadcast."""
    x, y = build.constant(x), build.constant(y)
    shape = np.broadcast_shapes(x.shape, y.shape)
    return build.add("STABLEHLO_AND", [build.broadcast(each, shape) for each in (x, y)], shape, x.dtype)


def _xor(build: Builder, x: Tensor, y: Tensor) -> Tensor:
    if x.dtype != "int64":
        return build.binary("BITWISE_XOR", x, y)
    both = _and(build, x, y)
    return build.minus(build.plus(x, y), build.plus(both, both))


def _or(build: Builder, x: Tensor, y: Tensor) -> Tensor:
    """What either has: the sum less what both have, or by bits where sums have no kernel."""
    both = _and(build, x, y)
    if x.dtype == "int64":
        return build.minus(build.plus(x, y), both)
    return build.binary("BITWISE_XOR", build.binary("BITWISE_XOR", x, y), both)


def _not(low: Lowering, step: Step) -> Tensor:
    build, x = low.build, low.number(step.inputs[0])
    if x.dtype == "int64":
        return build.minus(np.array(-1), x)
    ones = np.array(np.iinfo(x.dtype).max if x.dtype.startswith("u") else -1, x.dtype)
    return build.binary("BITWISE_XOR", x, ones)


_BITS = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "int32": 32, "uint32": 32, "int64": 64}


def _shift(low: Lowering, step: Step) -> Tensor:
    """By fewer places than there are bits; else only the sign is left, of a shift to the right."""
    build, left = low.build, step.op == "shift_left"
    x, y = (build.constant(each) for each in pair(low, step))
    shape, dtype = np.broadcast_shapes(x.shape, y.shape), x.dtype
    x, y = (build.broadcast(each, shape) for each in (x, y))
    most = _BITS[dtype] - 1
    if y.values is not None and y.values.size and y.values.min() >= 0 and y.values.max() <= most:
        return (_to_the_left if left else _to_the_right)(build, x, y)
    places = build.cast(y, "int64" if dtype == "uint32" else dtype if dtype == "int64" else "int32")
    fits = build.add(
        "LOGICAL_AND",
        [
            build.binary("GREATER_EQUAL", places, 0, dtype="bool"),
            build.binary("LESS_EQUAL", places, most, dtype="bool"),
        ],
        shape,
        "bool",
    )
    signed = not left and not dtype.startswith("u")
    within = build.select(fits, places, np.array(most))
    made = (_to_the_left if left else _to_the_right)(build, x, build.cast(within, dtype))
    return made if signed else build.select(fits, made, np.array(0))


def _to_the_left(build: Builder, x: Tensor, y: Tensor) -> Tensor:
    """STABLEHLO_SHIFT_LEFT has signed integers of up to 32 bits, and does not broadcast."""
    if x.dtype == "int64":
        return build.times(x, power(build, build.constant(np.array(2)), y))
    if x.dtype == "uint32":
        x, y = (build.add("BITCAST", [each], each.shape, "int32") for each in (x, y))
        made = build.add("STABLEHLO_SHIFT_LEFT", [x, y], x.shape, "int32")
        return build.add("BITCAST", [made], x.shape, "uint32")
    wide = {"uint8": "int32", "uint16": "int32"}.get(x.dtype, x.dtype)
    made = build.add("STABLEHLO_SHIFT_LEFT", [build.cast(x, wide), build.cast(y, wide)], x.shape, wide)
    return build.cast(made, x.dtype)


def _to_the_right(build: Builder, x: Tensor, y: Tensor) -> Tensor:
    """RIGHT_SHIFT has no int64, where it is the quotient towards minus infinity; by 63 places, the sign."""
    if x.dtype != "int64":
        return build.binary("RIGHT_SHIFT", x, y)
    divisor = power(build, build.constant(np.array(2)), build.binary("MINIMUM", y, 62))
    quotient = whole_quotient(build, build.minus(x, build.binary("FLOOR_MOD", x, divisor)), divisor)
    last = build.binary("EQUAL", y, 63, dtype="bool")
    negative = build.cast(build.binary("LESS", x, 0, dtype="bool"), "int64")
    return build.select(last, build.minus(np.array(0), negative), quotient)


def power(build: Builder, base: Tensor, exponent: Tensor) -> Tensor:
    """Of int64, of which POW has none: by squares, for each bit of the exponent."""
    rest, total = build.cast(exponent, "int32"), None
    for place in range(_BITS_OF_EXPONENT):
        bit = build.cast(build.binary("FLOOR_MOD", rest, 2), base.dtype)
        factor = build.plus(build.times(bit, build.minus(base, 1)), 1)
        total = factor if total is None else build.times(total, factor)
        if place + 1 < _BITS_OF_EXPONENT:
            rest, base = build.binary("FLOOR_DIV", rest, 2), build.times(base, base)
    assert total is not None
    return total


_BITS_OF_EXPONENT = 6
"""A larger power than the 63rd is 0, 1, −1 or does not fit."""


def _bit_cast(low: Lowering, step: Step) -> Tensor:
    x = low.number(step.inputs[0])
    return low.build.add("BITCAST", [x], x.shape, step.attributes["dtype"])


# Along an axis


def _arg(kind: str, of: str) -> Callable[[Lowering, Step], Tensor]:
    """Where an element is; among codes, too, which have the order of the numbers.

    The kernel knows numbers of up to 8 bits, int32 and float32; of others, what equals the largest is found.
    """

    def lower(low: Lowering, step: Step) -> Tensor:
        build, a = low.build, step.attributes
        x, axis, chosen = low.stored(step.inputs[0]), a["axis"], kind
        if x.dtype in ("int16", "uint16") and x.codes is None:
            x = build.cast(x, "int32")
        elif x.dtype not in ("float32", "int32", "int8", "uint8"):
            x, chosen = _is_extreme(build, low.number(step.inputs[0]), of, axis), "ARG_MAX"
        if a["last"]:
            x = build.add("REVERSE_V2", [x, build.integers([axis])], x.shape, x.dtype, x.codes)
        shape = [size for place, size in enumerate(x.shape) if place != axis]
        found = build.add(chosen, [x, build.integers(axis)], shape, "int64", output_type="int64")
        if a["last"]:
            found = build.minus(np.array(x.shape[axis] - 1), found)
        return build.reshape(found, [*shape[:axis], 1, *shape[axis:]]) if a["keepdims"] else found

    return lower


def _is_extreme(build: Builder, x: Tensor, of: str, axis: int) -> Tensor:
    equal = build.binary("EQUAL", x, build.reduce(of, x, (axis,), True), dtype="bool")
    return build.cast(equal, "int32")


def _cum_sum(low: Lowering, step: Step) -> Tensor:
    build, a = low.build, step.attributes
    small, (x,) = in_words(build, (low.number(step.inputs[0]),))
    assert isinstance(x, Tensor)
    options = {"exclusive": a["exclusive"], "reverse": a["reverse"]}
    made = build.add("CUMSUM", [x, build.integers(a["axis"])], x.shape, x.dtype, **options)
    return build.cast(made, small) if small else made


RULES = {
    "neg": Rule(_worded(lambda build, x: build.unary("NEG", x))),
    "abs": Rule(_worded(absolute)),
    "sign": Rule(_worded(sign)),
    "fmod": Rule(_fmod),
    "bitwiseand": Rule(_bits(_and)),
    "bitwiseor": Rule(_bits(_or)),
    "bitwisexor": Rule(_bits(_xor)),
    "bitwise_not": Rule(_not),
    "shift_left": Rule(_shift),
    "shift_right": Rule(_shift),
    "bit_cast": Rule(_bit_cast),
    "arg_max": Rule(_arg("ARG_MAX", "REDUCE_MAX")),
    "arg_min": Rule(_arg("ARG_MIN", "REDUCE_MIN")),
    "cum_sum": Rule(_cum_sum),
}
