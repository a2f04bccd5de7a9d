"""Functions of single elements, and of several tensors element by element."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgepress.convert.writer.builder import Builder, Operand
from edgepress.convert.writer.graph import Codes, Tensor, codes_of_one
from edgepress.convert.writer.lowering import Lowering, Rule, on_grid
from edgepress.translate import formulas
from edgepress.translate.plan import Step

_SMALL = ("int8", "uint8", "int16")
_UNIT = {"int8": codes_of_one(1 / 256, -128), "int16": codes_of_one(1 / 32768, 0, "int16")}
_SIGNED_UNIT = {"int8": codes_of_one(1 / 128, 0), "int16": codes_of_one(1 / 32768, 0, "int16")}
_LOGARITHMS = {"int8": codes_of_one(16 / 256, 127)}
"""What functions make whose kernels have codes of their own alone."""


# Two operands


def _pair(low: Lowering, step: Step) -> tuple[Operand, Operand]:
    """Both operands in numbers; a constant one is an array."""
    if "operand" not in step.weights:
        return low.number(step.inputs[0]), low.number(step.inputs[1])
    value, constant = low.number(step.inputs[0]), step.weights["operand"].values
    return (constant, value) if step.attributes["constant_first"] else (value, constant)


def _coded_pair(low: Lowering, step: Step) -> list[Tensor] | None:
    """Both operands in codes, if they have some."""
    found = low.codes(step)
    if found is None or "operand" not in step.weights:
        return found
    constant = low.coded_operand(step.weights["operand"])
    if constant is None:
        return None
    return [constant, *found] if step.attributes["constant_first"] else [*found, constant]


def _in_words(build: Builder, operands: tuple[Operand, ...]) -> tuple[str, tuple[Operand, ...]]:
    """Operands of 8 or 16 bits that are no codes as int32, since TFLite computes with these alone."""
    small = next((x.dtype for x in operands if isinstance(x, Tensor) and x.dtype in _SMALL), "")
    if not small:
        return "", operands
    wide = tuple(
        build.cast(x, "int32") if isinstance(x, Tensor) else np.asarray(x, np.int32) for x in operands
    )
    return small, wide


def _binary(kind: str) -> Callable[[Lowering, Step], Tensor]:
    def lower(low: Lowering, step: Step) -> Tensor:
        small, (x, y) = _in_words(low.build, _pair(low, step))
        made = low.build.binary(kind, x, y)
        return low.build.cast(made, small) if small else made

    return lower


def _compared(kind: str) -> Callable[[Lowering, Step], Tensor]:
    def lower(low: Lowering, step: Step) -> Tensor:
        _, (x, y) = _in_words(low.build, _pair(low, step))
        return low.build.binary(kind, x, y, dtype="bool")

    return lower


def _coded_binary(kind: str) -> Callable[[Lowering, Step], Tensor | None]:
    def lower(low: Lowering, step: Step) -> Tensor | None:
        codes, pair = low.wanted.get(step.output), _coded_pair(low, step)
        if codes is None or pair is None:
            return None
        return low.build.binary(kind, pair[0], pair[1], codes)

    return lower


def _div(low: Lowering, step: Step) -> Tensor:
    """ONNX divides integers towards zero."""
    build = low.build
    small, (x, y) = _in_words(build, _pair(low, step))
    kinds = [each.dtype if isinstance(each, Tensor) else each.dtype.name for each in (x, y)]  # type: ignore[union-attr]
    if kinds[0].startswith("float"):
        exact = isinstance(y, np.ndarray) and _are_powers_of_two(y)
        return build.times(x, 1 / np.asarray(y)) if exact else build.over(x, y)
    left, right = (build.constant(each) for each in (x, y))
    if small.startswith("u"):
        quotient = build.binary("FLOOR_DIV", left, right)
    else:
        signs = build.times(build.unary("SIGN", left), build.unary("SIGN", right))
        above, below = (build.unary("ABS", each) for each in (left, right))
        quotient = build.times(build.binary("FLOOR_DIV", above, below), signs)
    return build.cast(quotient, small) if small else quotient


def _are_powers_of_two(values: Any) -> bool:
    """Whether a product with the reciprocals is the quotient to the last bit."""
    fractions, exponents = np.frexp(values)
    return bool((np.abs(fractions) == 0.5).all() and (np.abs(exponents) < 100).all())


def _coded_div(low: Lowering, step: Step) -> Tensor | None:
    """By one constant: a product with its reciprocal, whose code is the largest, so that it is exact."""
    codes, x = low.wanted.get(step.output), low.code(step.inputs[0])
    constant = step.weights.get("operand")
    if codes is None or x is None or constant is None or step.attributes["constant_first"]:
        return None
    values = constant.values
    if np.ptp(values) or not values.flat[0]:
        return None
    sign = int(np.sign(values.flat[0]))
    largest = np.iinfo(x.dtype).max
    own = codes_of_one(abs(1 / float(values.flat[0])) / largest, 0, x.dtype)
    factor = Tensor("", values.shape, x.dtype, own, np.full(values.shape, sign * largest, x.dtype))
    return low.build.binary("MUL", x, factor, codes)


_LARGEST = 127


def _pow(low: Lowering, step: Step) -> Tensor:
    """Of the base's type; whole numbers are raised as such where the exponent is whole too."""
    build = low.build
    base, exponent = (build.constant(each) for each in _pair(low, step))
    if not base.dtype.startswith("float") and exponent.dtype.startswith("float"):
        return build.cast(build.binary("POW", build.cast(base, exponent.dtype), exponent), base.dtype)
    return build.binary("POW", base, build.cast(exponent, base.dtype))


def _xor(low: Lowering, step: Step) -> Tensor:
    return low.build.binary("NOT_EQUAL", *_pair(low, step), dtype="bool")


# Joins: operands and result have the same codes


def joined(low: Lowering, step: Step, names: tuple[str, ...]) -> list[Tensor] | None:
    """These operands, and a constant one, in codes that they share; None if numbers are to be joined."""
    known = [tensor for tensor in map(low.code, names) if tensor is not None]
    codes = low.wanted.get(step.output)
    if codes is None and len(known) == len(names) and known:
        first = known[0].codes
        codes = first if first is not None and all(first.same(t.codes) for t in known) else None
    if codes is None or not known:
        return None
    parts = [low.requantised(name, codes) for name in names]
    if "operand" in step.weights:
        values = step.weights["operand"].values
        if low.wanted.get(step.output) is None and not all(on_grid(float(v), codes) for v in values.flat):
            return None
        parts.append(Tensor("", values.shape, codes.dtype, codes, codes.of(values)))
    return parts


def _joining(kind: str) -> Callable[[Lowering, Step], Tensor | None]:
    def lower(low: Lowering, step: Step) -> Tensor | None:
        parts = joined(low, step, step.inputs)
        if parts is None:
            return None
        return functools.reduce(lambda x, y: low.build.binary(kind, x, y, x.codes), parts)

    return lower


def _of_all(kind: str) -> Callable[[Lowering, Step], Tensor]:
    def lower(low: Lowering, step: Step) -> Tensor:
        small, operands = _in_words(low.build, tuple(low.numbers(step)))
        made = functools.reduce(lambda x, y: low.build.binary(kind, x, y), operands)
        assert isinstance(made, Tensor)
        return low.build.cast(made, small) if small else made

    return lower


def _where(low: Lowering, step: Step) -> Tensor:
    condition, x, y = low.numbers(step)
    return _selected(low, condition, x, y)


def _selected(low: Lowering, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    shape = np.broadcast_shapes(condition.shape, x.shape, y.shape)
    return low.build.add("SELECT_V2", [condition, x, y], shape, x.dtype, x.codes)


def _coded_where(low: Lowering, step: Step) -> Tensor | None:
    parts = joined(low, step, step.inputs[1:])
    return None if parts is None else _selected(low, low.number(step.inputs[0]), *parts)


# One operand


def _unary(kind: str, **fixed: Any) -> Callable[[Lowering, Step], Tensor]:
    """An operator with the step's attributes as its options."""

    def lower(low: Lowering, step: Step) -> Tensor:
        return low.build.unary(kind, low.number(step.inputs[0]), **step.attributes, **fixed)

    return lower


def _coded_unary(
    kind: str, own: Mapping[str, Codes] | None = None, **fixed: Any
) -> Callable[[Lowering, Step], Tensor | None]:
    """An integer kernel, which for some functions has codes of its `own` alone."""

    def lower(low: Lowering, step: Step) -> Tensor | None:
        codes, x = low.wanted.get(step.output), low.code(step.inputs[0])
        if codes is None or x is None:
            return None
        return low.build.unary(kind, x, own[x.dtype] if own else codes, **step.attributes, **fixed)

    return lower


def composed(formula: Callable[..., Tensor]) -> Callable[[Lowering, Step], Tensor]:
    """A function written out in several operators, with the step's attributes as keywords."""

    def lower(low: Lowering, step: Step) -> Tensor:
        return formula(low.build, low.number(step.inputs[0]), **step.attributes)

    return lower


def _clip(low: Lowering, step: Step) -> Tensor:
    build, x = low.build, low.number(step.inputs[0])
    small, (wide,) = _in_words(build, (x,))
    assert isinstance(wide, Tensor)
    made = clamped(build, wide, step.attributes["low"], step.attributes["high"])
    return build.cast(made, small) if small else made


def clamped(build: Builder, x: Tensor, low: float | None, high: float | None) -> Tensor:
    """Between two bounds; ReLU and its like by their own names, which other operators do besides."""
    if x.dtype == "float32":
        if (low, high) in _CLAMPS:
            return build.unary(_CLAMPS[low, high], x)
        if low == 0.0:
            x, low = build.unary("RELU", x), None
    else:
        low, high = (None if bound is None else int(bound) for bound in (low, high))
    x = x if low is None else build.binary("MAXIMUM", x, low)
    return x if high is None else build.binary("MINIMUM", x, high)


_CLAMPS: dict[tuple[float | None, float | None], str] = {
    (0.0, None): "RELU",
    (0.0, 6.0): "RELU6",
    (-1.0, 1.0): "RELU_N1_TO_1",
}


def _coded_clip(low: Lowering, step: Step) -> Tensor | None:
    """The codes clamped; nothing where they do not go beyond the bounds."""
    x, wanted = low.code(step.inputs[0]), low.wanted.get(step.output)
    bounds = (0.0, None) if step.op == "relu" else (step.attributes["low"], step.attributes["high"])
    if x is None or x.codes is None:
        return None
    if wanted is None and not all(bound is None or on_grid(bound, x.codes) for bound in bounds):
        return None
    if wanted is not None:
        x = low.requantised(step.inputs[0], wanted)
    return clamped_codes(low.build, x, *bounds)


def clamped_codes(build: Builder, x: Tensor, low: float | None, high: float | None) -> Tensor:
    """Codes between the codes of two bounds; nothing is added for a bound that they do not go beyond."""
    assert x.codes is not None
    limits = np.iinfo(x.codes.dtype)
    ends = [None if b is None else int(x.codes.of(np.array(b, np.float32))) for b in (low, high)]
    idle = [end is None or end == limit for end, limit in zip(ends, (limits.min, limits.max), strict=True)]
    if all(idle):
        return x
    kind = _CLAMPS.get((low, high), "")
    if kind and (kind != "RELU_N1_TO_1" or x.dtype == "int8"):
        return build.unary(kind, x, x.codes)
    for end, kind, free in zip(ends, ("MAXIMUM", "MINIMUM"), idle, strict=True):
        if not free:
            bound = Tensor("", (), x.dtype, x.codes, np.array(end, x.dtype))
            x = build.binary(kind, x, bound, x.codes)
    return x


def _prelu(low: Lowering, step: Step) -> Tensor:
    """The operator takes a constant slope, without the axis of the batch; a computed one is written out."""
    build, (x, *others) = low.build, low.numbers(step)
    if not x.dtype.startswith("float"):
        slope = others[0] if others else build.constant(step.weights["slope"].values)
        return build.where_positive(x, x, build.times(x, slope))
    if others:
        below = build.times(others[0], build.unary("RELU", build.unary("NEG", x)))
        return build.minus(build.unary("RELU", x), below)
    return build.add("PRELU", [x, build.constant(_slope(step))], x.shape)


def _slope(step: Step) -> Any:
    values = step.weights["slope"].values
    return values[0] if values.ndim > 1 and values.shape[0] == 1 else values


def _coded_prelu(low: Lowering, step: Step) -> Tensor | None:
    """Slopes without codes of their own get some: the largest magnitude is 127."""
    codes, x = low.wanted.get(step.output), low.code(step.inputs[0])
    if codes is None or x is None or "slope" not in step.weights:
        return None
    values, coded = _slope(step), low.coded_operand(step.weights["slope"])
    own = _symmetric_codes(values) if coded is None or coded.codes is None else coded.codes
    slope = Tensor("", values.shape, own.dtype, own, own.of(values))
    return low.build.add("PRELU", [x, slope], x.shape, codes=codes)


def _symmetric_codes(values: Any) -> Codes:
    return codes_of_one(float(np.abs(values).max()) / _LARGEST or 1.0, 0)


def _softmax(low: Lowering, step: Step) -> Tensor:
    return _along_last(low, step, low.number(step.inputs[0]), None)


def _along_last(low: Lowering, step: Step, x: Tensor, codes: Codes | None) -> Tensor:
    """The operators take the last axis; another one is brought there, and back."""
    build, axis, rank = low.build, step.attributes["axis"] % len(x.shape), len(x.shape)
    kind = "LOG_SOFTMAX" if step.op == "log_softmax" else "SOFTMAX"
    options = {} if kind == "LOG_SOFTMAX" else {"beta": 1.0}
    order = [*(i for i in range(rank) if i != axis), axis]
    turned = x if axis == rank - 1 else build.transpose(x, order)
    made = build.unary(kind, turned, codes, **options)
    return made if axis == rank - 1 else build.transpose(made, np.argsort(order).tolist())


def _coded_softmax(low: Lowering, step: Step) -> Tensor | None:
    x = low.code(step.inputs[0])
    if x is None or step.output not in low.wanted:
        return None
    return _along_last(low, step, x, (_LOGARITHMS if step.op == "log_softmax" else _UNIT)[x.dtype])


def _identity(low: Lowering, step: Step) -> Tensor:
    return low.stored(step.inputs[0])


def _cast(low: Lowering, step: Step) -> Tensor:
    return low.build.cast(low.number(step.inputs[0]), step.attributes["dtype"])


RULES = {
    "add": Rule(_binary("ADD"), _coded_binary("ADD")),
    "sub": Rule(_binary("SUB"), _coded_binary("SUB")),
    "mul": Rule(_binary("MUL"), _coded_binary("MUL")),
    "div": Rule(_div, _coded_div),
    "pow": Rule(_pow),
    "max": Rule(_binary("MAXIMUM"), _joining("MAXIMUM"), commutes=True),
    "min": Rule(_binary("MINIMUM"), _joining("MINIMUM"), commutes=True),
    "equal": Rule(_compared("EQUAL")),
    "greater": Rule(_compared("GREATER")),
    "greaterorequal": Rule(_compared("GREATER_EQUAL")),
    "less": Rule(_compared("LESS")),
    "lessorequal": Rule(_compared("LESS_EQUAL")),
    "and": Rule(_binary("LOGICAL_AND")),
    "or": Rule(_binary("LOGICAL_OR")),
    "xor": Rule(_xor),
    "sum_of": Rule(_of_all("ADD")),
    "max_of": Rule(_of_all("MAXIMUM"), _joining("MAXIMUM"), commutes=True),
    "min_of": Rule(_of_all("MINIMUM"), _joining("MINIMUM"), commutes=True),
    "where": Rule(_where, _coded_where, commutes=True),
    "relu": Rule(_unary("RELU"), _coded_clip, commutes=True),
    "clip": Rule(_clip, _coded_clip, commutes=True),
    "sigmoid": Rule(_unary("LOGISTIC"), _coded_unary("LOGISTIC", _UNIT)),
    "tanh": Rule(_unary("TANH"), _coded_unary("TANH", _SIGNED_UNIT)),
    "leaky_relu": Rule(_unary("LEAKY_RELU"), _coded_unary("LEAKY_RELU")),
    "prelu": Rule(_prelu, _coded_prelu),
    "elu": Rule(composed(formulas.elu)),
    "selu": Rule(composed(formulas.selu)),
    "celu": Rule(composed(formulas.celu)),
    "hard_swish": Rule(_unary("HARD_SWISH"), _coded_unary("HARD_SWISH")),
    "softplus": Rule(composed(formulas.softplus)),
    "softsign": Rule(composed(formulas.softsign)),
    "gelu": Rule(_unary("GELU"), _coded_unary("GELU")),
    "mish": Rule(composed(formulas.mish)),
    "erf": Rule(composed(formulas.erf)),
    "exp": Rule(_unary("EXP")),
    "log": Rule(_unary("LOG")),
    "sqrt": Rule(_unary("SQRT")),
    "reciprocal": Rule(composed(formulas.reciprocal)),
    "neg": Rule(_unary("NEG")),
    "abs": Rule(_unary("ABS")),
    "floor": Rule(_unary("FLOOR")),
    "ceil": Rule(_unary("CEIL")),
    "not": Rule(_unary("LOGICAL_NOT")),
    "identity": Rule(_identity, _identity, commutes=True),
    "softmax": Rule(_softmax, _coded_softmax),
    "log_softmax": Rule(_softmax, _coded_softmax),
    "softmax_over": Rule(composed(formulas.softmax_over)),
    "cast": Rule(_cast),
}
