"""Einstein's sums that are no products of matrices: of one operand, or over diagonals."""

from collections.abc import Mapping

import numpy as np
import onnx

from edgepress.graph.view import attributes
from edgepress.translate.written.body import Body, Writer

_REST = "..."


def is_special(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether TensorFlow has no matrix product for it: one operand alone, or an index twice in one."""
    terms, _ = _parsed(attributes(node)["equation"])
    return len(terms) == 1 or any(len(set(_letters(term))) < len(_letters(term)) for term in terms)


def _parsed(equation: str) -> tuple[list[str], str]:
    """The terms of the operands, and the result's, which without an arrow has what occurs once."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    if not arrow:
        every = _letters(left.replace(",", ""))
        right = _REST * (_REST in left) + "".join(sorted(one for one in every if every.count(one) == 1))
    return left.split(","), right


def _letters(term: str) -> str:
    return term.replace(_REST, "")


def _axes(term: str, rank: int) -> list[str]:
    """A label for each axis; those of the rest are numbers that count from its end."""
    before, rest, behind = term.partition(_REST)
    wide = rank - len(before) - len(behind)
    middle = [str(number) for number in reversed(range(wide))] if rest else []
    return [*before, *middle, *behind]


def _einsum(b: Body) -> None:
    terms, result = _parsed(b.attributes["equation"])
    operands, axes = list[str](), list[list[str]]()
    for index, term in enumerate(terms):
        value, labels = _without_diagonals(b, index, _axes(term, len(b.shape(index))))
        operands.append(value)
        axes.append(labels)
    if len(terms) > 1:
        clean = [_once(term) for term in terms]
        b.gives("Einsum", *operands, equation=f"{','.join(clean)}->{result}")
        return
    rest = [label for label in axes[0] if label.isdigit()]
    before, found, behind = result.partition(_REST)
    wanted = [*before, *(rest if found else []), *behind]
    summed = [place for place, label in enumerate(axes[0]) if label not in wanted]
    left = [label for label in axes[0] if label in wanted]
    value = b.reduce("ReduceSum", operands[0], summed, 0) if summed else operands[0]
    order = [left.index(label) for label in wanted]
    if order == sorted(order):
        b.gives("Identity", value)
    else:
        b.gives("Transpose", value, perm=order)


def _once(term: str) -> str:
    """The term without an index that was there before."""
    before, rest, behind = term.partition(_REST)
    kept = "".join(one for place, one in enumerate(behind) if one not in before + behind[:place])
    return "".join(dict.fromkeys(before)) + rest + kept


def _without_diagonals(b: Body, index: int, labels: list[str]) -> tuple[str, list[str]]:
    """Where an index stands twice, what is off the diagonal is 0, and the second axis summed up."""
    value, sizes = b.inputs[index], [1 if size is None else size for size in b.shape(index)]
    labels = list(labels)
    while (again := next((p for p, one in enumerate(labels) if one in labels[:p]), None)) is not None:
        first = labels.index(labels[again])
        shape = [sizes[again] if place in (first, again) else 1 for place in range(len(labels))]
        diagonal = np.eye(sizes[again], dtype=bool).reshape(shape)
        value = b("Where", diagonal, value, b.number(0))
        value = b.reduce("ReduceSum", value, [again], 0)
        del labels[again], sizes[again]
    return value, labels


WRITERS: dict[str, Writer] = {"Einsum": _einsum}
