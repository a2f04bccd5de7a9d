"""Steps that pick elements by their value or by computed places."""

from collections.abc import Sequence

from edgepress.convert.writer.builder import Builder
from edgepress.convert.writer.graph import Tensor
from edgepress.convert.writer.lowering import Lowering, Rule
from edgepress.translate.plan import Step

_SORTED = ("float32", "int32", "int64", "int8", "uint8")


def _top_k(low: Lowering, step: Step) -> Sequence[Tensor]:
    """The kernel gives the largest: the smallest of whole numbers are the largest of their complements."""
    build, a, x = low.build, step.attributes, low.number(step.inputs[0])
    given = x.dtype
    if given not in _SORTED or (given == "uint8" and not a["largest"]):
        x = build.cast(x, "int32")
    computed = len(step.inputs) > 1
    count = build.reshape(build.cast(low.number(step.inputs[1]), "int32"), ()) if computed else a["count"]
    values, places = _largest(build, x if a["largest"] else _opposite(build, x), count)
    values = values if a["largest"] else _opposite(build, values)
    return [build.cast(values, given), build.cast(places, "int64")]


def _coded_top_k(low: Lowering, step: Step) -> Sequence[Tensor] | None:
    """Of codes, which are in the order of their numbers; of equal ones the first in both runtimes."""
    x, a = low.code(step.inputs[0]), step.attributes
    if x is None or x.dtype != "int8" or x.codes is None or len(step.inputs) > 1 or not a["largest"]:
        return None
    values, places = _largest(low.build, x, a["count"])
    values.codes = x.codes
    return [values, low.build.cast(places, "int64")]


def _largest(build: Builder, x: Tensor, count: Tensor | int) -> list[Tensor]:
    known = isinstance(count, int)
    shape = (*x.shape[:-1], count if isinstance(count, int) else 1)
    operand = build.constant(count, "int32") if known else count
    assert isinstance(operand, Tensor)
    values, places = build.add_typed("TOPK_V2", [x, operand], [(shape, x.dtype), (shape, "int32")])
    values.ragged = values.ragged or not known
    places.ragged = places.ragged or not known
    return [values, places]


def _opposite(build: Builder, x: Tensor) -> Tensor:
    if x.dtype == "float32":
        return build.unary("NEG", x)
    if x.dtype == "int8":
        return build.cast(build.minus(-1, build.cast(x, "int32")), "int8")
    return build.minus(build.constant(-1, x.dtype), x)


def _one_hot(low: Lowering, step: Step) -> Tensor:
    build, a = low.build, step.attributes
    places, depth, on, off = (low.number(name) for name in step.inputs)
    wide = (
        on.dtype if on.dtype in ("float32", "int16", "int32", "int64", "int8", "uint8", "bool") else "int32"
    )
    axis = a["axis"]
    size = 1 if depth.values is None else int(depth.values.item())
    shape = (*places.shape[:axis], size, *places.shape[axis:])
    operands = [places, depth, build.cast(on, wide), build.cast(off, wide)]
    made = build.add("ONE_HOT", operands, shape, wide, axis=axis if axis < len(places.shape) else -1)
    made.ragged = made.ragged or depth.values is None
    return build.cast(made, on.dtype)


_TESTED = ("bool", "float32", "int32", "int64", "int8", "uint8", "uint32")


def _places(low: Lowering, step: Step) -> Tensor:
    """WHERE gives as many rows as there are elements."""
    build, x = low.build, low.number(step.inputs[0])
    x = x if x.dtype in _TESTED else build.cast(x, "int32")
    made = build.add("WHERE", [x], (1, len(x.shape)), "int64")
    made.ragged = True
    return made


_REVERSED = ("float32", "uint8", "int16", "int32", "int64")


def _reversed(low: Lowering, step: Step) -> Tensor:
    build, a = low.build, step.attributes
    x, lengths = (low.number(name) for name in step.inputs)
    wide = x if x.dtype in _REVERSED else build.cast(x, "int32")
    options = {"seq_dim": a["time"], "batch_dim": a["batch"]}
    made = build.add("REVERSE_SEQUENCE", [wide, lengths], x.shape, wide.dtype, **options)
    return build.cast(made, x.dtype)


def _gather_nd(low: Lowering, step: Step) -> Tensor:
    x, places = low.stored(step.inputs[0]), low.number(step.inputs[1])
    shape = (*places.shape[:-1], *x.shape[places.shape[-1] :])
    return low.build.add("GATHER_ND", [x, places], shape, x.dtype, x.codes)


_ADDED = ("float32", "int32", "int64", "int8", "uint8", "bool")


def _scatter(low: Lowering, step: Step) -> Tensor:
    build = low.build
    places, x = (low.number(name) for name in step.inputs)
    shape = step.attributes["shape"]
    wide = x if x.dtype in _ADDED else build.cast(x, "int32")
    operands = [build.cast(places, "int32"), wide, build.integers(shape)]
    return build.cast(build.add("SCATTER_ND", operands, shape, wide.dtype), x.dtype)


def _kept_boxes(low: Lowering, step: Step) -> Tensor:
    """The kernel gives a fixed number of places, and how many of them hold."""
    build = low.build
    operands = [low.number(name) for name in step.inputs]
    most = operands[2]
    length = int(most.values.item()) if most.values is not None else 1
    made = [((length,), "int32"), ((), "int32")]
    places, count = build.add_typed("NON_MAX_SUPPRESSION_V4", operands, made)
    end = build.reshape(count, (1,))
    operands = [places, build.integers([0]), end, build.integers([1])]
    kept = build.add("STRIDED_SLICE", operands, (1,), "int32")
    kept.ragged = True
    return build.cast(kept, "int64")


RULES = {
    "top_k": Rule(_top_k, _coded_top_k),
    "one_hot": Rule(_one_hot),
    "places": Rule(_places),
    "reverse_sequence": Rule(_reversed),
    "gather_nd": Rule(_gather_nd, _gather_nd, commutes=True),
    "scatter_nd": Rule(_scatter),
    "kept_boxes": Rule(_kept_boxes),
}
