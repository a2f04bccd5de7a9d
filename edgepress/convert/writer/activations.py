"""Functions of single elements: activations, clamps, casts; and Softmax."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgepress.convert.writer.builder import Builder
from edgepress.convert.writer.elementwise import LARGEST
from edgepress.convert.writer.graph import Codes, Tensor, codes_of_one
from edgepress.convert.writer.lowering import Lowering, Rule, on_grid
from edgepress.convert.writer.words import in_words
from edgepress.translate import formulas
from edgepress.translate.plan import Step

_UNIT = {"int8": codes_of_one(1 / 256, -128), "int16": codes_of_one(1 / 32768, 0, "int16")}
_SIGNED_UNIT = {"int8": codes_of_one(1 / 128, 0), "int16": codes_of_one(1 / 32768, 0, "int16")}
_LOGARITHMS = {"int8": codes_of_one(16 / 256, 127)}
"""What functions make whose kernels have codes of their own alone."""


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
    small, (wide,) = in_words(build, (x,))
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
    return build.add("PRELU", [x, build.constant(_slope(step, x))], x.shape)


def _slope(step: Step, x: Tensor) -> Any:
    """With a number for each channel: of fewer, XNNPACK of TFLite 2.14 reads others behind them."""
    values = step.weights["slope"].values
    own = values[0] if values.ndim > 1 and values.shape[0] == 1 else values
    return np.ascontiguousarray(np.broadcast_to(own, (*own.shape[:-1], x.shape[-1])))


def _coded_prelu(low: Lowering, step: Step) -> Tensor | None:
    """Slopes without codes of their own get some: the largest magnitude is 127."""
    codes, x = low.wanted.get(step.output), low.code(step.inputs[0])
    if codes is None or x is None or "slope" not in step.weights:
        return None
    values, coded = _slope(step, x), low.coded_operand(step.weights["slope"])
    own = _symmetric_codes(values) if coded is None or coded.codes is None else coded.codes
    slope = Tensor("", values.shape, own.dtype, own, own.of(values))
    return low.build.add("PRELU", [x, slope], x.shape, codes=codes)


def _symmetric_codes(values: Any) -> Codes:
    return codes_of_one(float(np.abs(values).max()) / LARGEST or 1.0, 0)


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


def _atan(low: Lowering, step: Step) -> Tensor:
    """The angle of (x, 1); the kernel does not broadcast."""
    x = low.number(step.inputs[0])
    one = low.build.broadcast(low.build.constant(1.0), x.shape)
    return low.build.add("ATAN2", [x, one], x.shape)


RULES = {
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
    "sin": Rule(_unary("SIN")),
    "cos": Rule(_unary("COS")),
    "atan": Rule(_atan),
    "round": Rule(_unary("ROUND")),
    "floor": Rule(_unary("FLOOR")),
    "ceil": Rule(_unary("CEIL")),
    "not": Rule(_unary("LOGICAL_NOT")),
    "identity": Rule(_identity, _identity, commutes=True),
    "softmax": Rule(_softmax, _coded_softmax),
    "log_softmax": Rule(_softmax, _coded_softmax),
    "softmax_over": Rule(composed(formulas.softmax_over)),
    "cast": Rule(_cast),
}
