"""Functions of several tensors, element by element."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from edgepress.convert.writer.graph import Tensor, codes_of_one
from edgepress.convert.writer.lowering import Lowering, Rule, on_grid
from edgepress.convert.writer.numbers import power, whole_quotient
from edgepress.convert.writer.words import in_words, pair
from edgepress.translate.plan import Step


def _coded_pair(low: Lowering, step: Step) -> list[Tensor] | None:
    """Both operands in codes, if they have some."""
    found = low.codes(step)
    if found is None or "operand" not in step.weights:
        return found
    constant = low.coded_operand(step.weights["operand"])
    if constant is None:
        return None
    return [constant, *found] if step.attributes["constant_first"] else [*found, constant]


def _binary(kind: str) -> Callable[[Lowering, Step], Tensor]:
    def lower(low: Lowering, step: Step) -> Tensor:
        small, (x, y) = in_words(low.build, pair(low, step))
        made = low.build.binary(kind, x, y)
        return low.build.cast(made, small) if small else made

    return lower


def _compared(kind: str) -> Callable[[Lowering, Step], Tensor]:
    def lower(low: Lowering, step: Step) -> Tensor:
        _, (x, y) = in_words(low.build, pair(low, step))
        return low.build.binary(kind, x, y, dtype="bool")

    return lower


def _coded_binary(kind: str) -> Callable[[Lowering, Step], Tensor | None]:
    def lower(low: Lowering, step: Step) -> Tensor | None:
        codes, both = low.wanted.get(step.output), _coded_pair(low, step)
        if codes is None or both is None:
            return None
        return low.build.binary(kind, both[0], both[1], codes)

    return lower


def _div(low: Lowering, step: Step) -> Tensor:
    """ONNX divides integers towards zero."""
    build = low.build
    small, (x, y) = in_words(build, pair(low, step))
    kinds = [each.dtype if isinstance(each, Tensor) else each.dtype.name for each in (x, y)]  # type: ignore[union-attr]
    if kinds[0].startswith("float"):
        exact = isinstance(y, np.ndarray) and _are_powers_of_two(y) and not build.any_size
        return build.times(x, 1 / np.asarray(y)) if exact else build.over(x, y)
    left, right = (build.constant(each) for each in (x, y))
    quotient = whole_quotient(build, left, right)
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


LARGEST = 127


def _pow(low: Lowering, step: Step) -> Tensor:
    """Of the base's type; whole numbers are raised as such where the exponent is whole too."""
    build = low.build
    base, exponent = (build.constant(each) for each in pair(low, step))
    if not base.dtype.startswith("float") and exponent.dtype.startswith("float"):
        return build.cast(build.binary("POW", build.cast(base, exponent.dtype), exponent), base.dtype)
    if base.dtype == "int64":
        return power(build, base, exponent)
    return build.binary("POW", base, build.cast(exponent, base.dtype))


def _xor(low: Lowering, step: Step) -> Tensor:
    return low.build.binary("NOT_EQUAL", *pair(low, step), dtype="bool")


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
        small, operands = in_words(low.build, tuple(low.numbers(step)))
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


RULES = {
    "add": Rule(_binary("ADD"), _coded_binary("ADD")),
    "sub": Rule(_binary("SUB"), _coded_binary("SUB")),
    "mul": Rule(_binary("MUL"), _coded_binary("MUL")),
    "div": Rule(_div, _coded_div),
    "floor_mod": Rule(_binary("FLOOR_MOD")),
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
}
