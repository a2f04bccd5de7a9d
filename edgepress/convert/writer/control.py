"""Control flow: the operators IF and WHILE, and the tensors that loops fill."""

from dataclasses import replace
from operator import is_not

import numpy as np

from edgepress.convert.writer.graph import Graph, Tensor
from edgepress.convert.writer.lowering import Lowering, Rule
from edgepress.translate.plan import Step


def _if(low: Lowering, step: Step) -> list[Tensor]:
    condition, *operands = low.numbers(step)
    then, otherwise = (low.within(step.attributes[part], operands) for part in ("then", "otherwise"))
    graphs = {"thenSubgraphIndex": then, "elseSubgraphIndex": otherwise}
    made = low.build.add_nested("IF", [condition, *operands], _ends(then), graphs)
    return _of_sizes_that_differ(made, then.outputs, otherwise.outputs)


def _while(low: Lowering, step: Step) -> list[Tensor]:
    operands = low.numbers(step)
    condition = low.within(step.attributes["condition"], operands)
    body = low.within(step.attributes["body"], operands, keep_inputs=True)
    grown = [
        replace(operand, ragged=True) if operand.shape != end.shape else operand
        for operand, end in zip(operands, body.outputs, strict=True)
    ]
    if any(map(is_not, grown, operands)):  # the body may not count on the sizes of the first round
        body = low.within(step.attributes["body"], grown, keep_inputs=True)
    graphs = {"condSubgraphIndex": condition, "bodySubgraphIndex": body}
    made = low.build.add_nested("WHILE", operands, _ends(body), graphs)
    return _of_sizes_that_differ(made, operands, body.outputs)


def _of_sizes_that_differ(made: list[Tensor], one: list[Tensor], other: list[Tensor]) -> list[Tensor]:
    """The results, `ragged` where they have the size of the one or of the other."""
    for result, *ends in zip(made, one, other, strict=True):
        result.ragged = ends[0].shape != ends[1].shape or any(end.ragged for end in ends)
    return made


def _ends(graph: Graph) -> list[tuple[tuple[int, ...], str]]:
    return [(tensor.shape, tensor.dtype) for tensor in graph.outputs]


def _filled(low: Lowering, step: Step) -> Tensor:
    """Zeros, which the file does not hold."""
    shape, dtype = step.attributes["shape"], step.attributes["dtype"]
    value = low.build.constant(np.zeros((), dtype))
    return low.build.add("FILL", [low.build.integers(shape), value], shape, dtype)


def _update(low: Lowering, step: Step) -> Tensor:
    """The first tensor with one of its rows, by its number, replaced."""
    build, (whole, row, place) = low.build, low.numbers(step)
    first = build.reshape(place, (1,))
    begin = build.concat([first, build.integers([0] * (len(whole.shape) - 1))], 0)
    begin = begin if len(whole.shape) > 1 else first
    return build.add("DYNAMIC_UPDATE_SLICE", [whole, row, begin], whole.shape, whole.dtype)


def _tail(low: Lowering, step: Step) -> Tensor:
    """All rows but the first."""
    x = low.number(step.inputs[0])
    rank = len(x.shape)
    operands = [x, *map(low.build.integers, ([1, *[0] * (rank - 1)], [_TO_THE_END] * rank, [1] * rank))]
    return low.build.add("STRIDED_SLICE", operands, (x.shape[0] - 1, *x.shape[1:]), x.dtype)


_TO_THE_END = 2**31 - 1

RULES = {
    "if": Rule(_if),
    "while": Rule(_while),
    "filled": Rule(_filled),
    "update": Rule(_update),
    "tail": Rule(_tail),
}
