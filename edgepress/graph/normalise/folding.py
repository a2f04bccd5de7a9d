"""Constant folding: what does not depend on the network's input becomes an initializer.

Small and by node; a value that depends on open sizes is recognised by computing it for several of them.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import onnx
from onnx import numpy_helper

from edgepress.errors import UnsupportedModelError
from edgepress.graph.aside import values_of
from edgepress.graph.normalise.native import inferred
from edgepress.graph.normalise.structure import opset
from edgepress.graph.shapes import BATCH, open_sizes
from edgepress.graph.view import (
    Array,
    operands,
    remove_unused_initializers,
    replace_nodes,
    set_initializer,
)

_ROUNDS = 8
_ROOM = 2**22
_TOTAL_ROOM = 2**25
"""A folded tensor may have four times its operands' elements, or 2²², and all together may have 2²⁵."""

_SIZES: dict[str, Callable[[list[Array]], int]] = {
    "ConstantOfShape": lambda x: math.prod(x[0].tolist()),
    "Expand": lambda x: math.prod(np.broadcast_shapes(x[0].shape, tuple(x[1].tolist()))),
    "Tile": lambda x: x[0].size * math.prod(x[1].tolist()),
    "Range": lambda x: math.ceil((x[1].item() - x[0].item()) / x[2].item()),
    "Gather": lambda x: x[1].size * x[0].size,
}
_UNARY = (
    "Abs", "Cast", "Ceil", "Clip", "Constant", "Cos", "CumSum", "DequantizeLinear", "Exp", "Flatten", "Floor",
    "Identity", "Log", "Neg", "Not", "Reciprocal", "Reshape", "Round", "Shape", "Sign", "Sin",
    "Size", "Slice", "Sqrt", "Squeeze", "Transpose", "Trilu", "Unsqueeze",
)  # fmt: skip
_BROADCAST = (
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max",
    "Min", "Mod", "Mul", "Or", "Pow", "Sub", "Where",
)  # fmt: skip
_REDUCTIONS = ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum")
_FOLDABLE = {*_SIZES, *_UNARY, *_BROADCAST, *_REDUCTIONS, "BatchNormalization", "Concat", "Split"}


def fold_constants(model: onnx.ModelProto) -> None:
    """Fold constants, in place; a Reshape to a shape that holds one open size gets −1 there.

    What is the same whatever the open sizes are, of which a few are tried, counts as constant.
    Kernels behind DequantizeLinear stay int8: that is how a quantised model holds them.
    """
    trials = _trials(open_sizes(model))
    for _ in range(_ROUNDS):
        before = len(model.graph.node)
        found = [_known(model, trials[0])]
        found += [each for each in map(partial(_tried, model), trials[1:]) if each and found[0].values]
        changed = len(found) > 1 and _infer_open_size_of_reshapes(model, found)
        _replace(model, _alike([each.values for each in found]))
        if len(model.graph.node) == before and not changed:
            return


def _trials(names: list[str]) -> list[dict[str, int]]:
    """Sizes to try: small ones, too, since a large one may be cut to the size of a constant."""
    if not names:
        return [{}]
    if names == [BATCH]:
        return [{BATCH: 2}, {BATCH: 3}]
    return [
        {name: first + step * place if name != BATCH else 2 + number for place, name in enumerate(names)}
        for number, (first, step) in enumerate(_SIZES_TRIED)
    ]


_SIZES_TRIED = ((2, 1), (5, 3), (192, 64), (1100, 200))
"""The size of the first name, and how much larger those of the others are, in each trial."""


def _alike(values: list[dict[str, Array]]) -> dict[str, Array]:
    """What is the same in all trials."""
    first, *others = values
    return {
        name: value
        for name, value in first.items()
        if all(name in other and _same(value, other[name]) for other in others)
    }


@dataclass(frozen=True)
class _Known:
    """What is constant once open sizes are: values that follow from initializers and shapes, and shapes."""

    values: dict[str, Array]
    shapes: Callable[[], dict[str, tuple[int, ...]]]


def known_values(model: onnx.ModelProto, sizes: dict[str, int]) -> dict[str, Array]:
    """What follows from constants and shapes once the open sizes have these numbers, by tensor."""
    return _known(model, sizes).values


def _tried(model: onnx.ModelProto, sizes: dict[str, int]) -> _Known | None:
    """None where a tensor would be too large."""
    try:
        return _known(model, sizes)
    except UnsupportedModelError:
        return None


def _known(model: onnx.ModelProto, sizes: dict[str, int]) -> _Known:
    shapes, version = cache(lambda: _static_shapes(model, sizes)), opset(model)
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    known: dict[str, Array] = {}
    room = _TOTAL_ROOM
    for node in model.graph.node:
        several = len(node.output) > 1 and node.op_type != "Split"
        if node.op_type not in _FOLDABLE or node.domain not in ("", "ai.onnx") or several:
            continue
        if node.op_type in ("Shape", "Size") and node.input[0] in shapes():
            values = [np.broadcast_to(np.int8(0), shapes()[node.input[0]])]
        elif all(not name or name in known or name in held for name in node.input):
            values = [known[name] if name in known else values_of(held[name]) for name in node.input if name]
        else:
            continue
        results = None if _holds_kernel(node, values) else _evaluate(node, values, version)
        if results is not None and (size := sum(result.size for result in results)) <= room:
            known.update(zip(node.output, results, strict=True))
            room -= size
    return _Known(known, shapes)


def _holds_kernel(node: onnx.NodeProto, operands: list[Array]) -> bool:
    return node.op_type == "DequantizeLinear" and operands[0].ndim > 0


def _static_shapes(model: onnx.ModelProto, sizes: dict[str, int]) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for name, info in inferred(model, sizes=sizes).items():
        tensor = info.type.tensor_type
        if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            shapes[name] = tuple(dim.dim_value for dim in tensor.shape.dim)
    return shapes


def _evaluate(node: onnx.NodeProto, operands: list[Array], version: int) -> list[Array] | None:
    """What onnx's reference implementation makes of the operands; None where it cannot or it is too much."""
    from onnx.reference import ReferenceEvaluator

    names = [name for name in node.input if name]
    try:
        if _result_size(node, operands) > max(_ROOM, 4 * sum(operand.size for operand in operands)):
            return None
        info = onnx.helper.make_empty_tensor_value_info
        graph = onnx.helper.make_graph(
            [node], "node", [info(n) for n in dict.fromkeys(names)], [info(name) for name in node.output]
        )
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            evaluator = ReferenceEvaluator(graph, opsets={"": version})
            results = evaluator.run(None, dict(zip(names, operands, strict=True)))
            plain = [numpy_helper.from_array(np.asarray(result), "result") for result in results]
            return [numpy_helper.to_array(result) for result in plain]
    except Exception:  # a node that cannot be computed stays, for whoever reads the model to refuse
        return None


def _result_size(node: onnx.NodeProto, operands: list[Array]) -> int:
    if node.op_type in _SIZES:
        return _SIZES[node.op_type](operands)
    if node.op_type in _BROADCAST:
        return math.prod(np.broadcast_shapes(*(operand.shape for operand in operands)))
    return sum(operand.size for operand in operands)


def _same(first: Array, second: Array) -> bool:
    same_form = first.shape == second.shape and first.dtype == second.dtype
    return same_form and first.tobytes() == second.tobytes()


def _infer_open_size_of_reshapes(model: onnx.ModelProto, found: list[_Known]) -> bool:
    changed = False
    for node in model.graph.node:
        if node.op_type != "Reshape" or any(node.input[1] not in known.values for known in found):
            continue
        one, *others = (_target(node, known) for known in found)
        if any(other.shape != one.shape for other in others):
            continue
        differs = np.any([other != one for other in others], axis=0)
        if np.count_nonzero(differs) == 1 and -1 not in one:
            name = f"{node.output[0]}.shape"
            set_initializer(model, name, np.where(differs, -1, one).astype(np.int64))
            node.input[1] = name
            changed = True
    return changed


def _target(node: onnx.NodeProto, known: _Known) -> Array:
    """The shape that a Reshape makes: as inferred, since the constant may hold −1, or else the constant."""
    result = known.shapes().get(node.output[0])
    return known.values[node.input[1]] if result is None else np.array(result, np.int64)


def _replace(model: onnx.ModelProto, values: dict[str, Array]) -> None:
    """Initializers in place of the nodes that make them, and only those that are read."""
    outputs = {output.name for output in model.graph.output}
    values = {name: value for name, value in values.items() if name not in outputs}
    kept = [node for node in model.graph.node if not all(name in values for name in node.output)]
    asked = {name for node in kept for name in operands(node)}.intersection(values)
    for node in kept:  # a Split of which some parts are constants makes these for nobody
        node.output[:] = [f"{name}.unread" if name in asked else name for name in node.output]
    read = {name for node in kept for name in operands(node)}
    new = [numpy_helper.from_array(value, name) for name, value in values.items() if name in read]
    wanted = outputs | read
    while True:
        alive = [node for node in kept if wanted.intersection(node.output)]
        if len(alive) == len(kept):
            break
        kept, wanted = alive, outputs | {name for node in alive for name in operands(node)}
    replace_nodes(model, kept)
    model.graph.initializer.extend(new)
    remove_unused_initializers(model)
