"""Products of computed matrices, and Einstein's sums."""

from collections.abc import Sequence

import numpy as np

from edgepress.convert.writer.builder import Builder
from edgepress.convert.writer.graph import Tensor
from edgepress.convert.writer.lowering import Lowering, Rule
from edgepress.translate.plan import Step


def _matmul(low: Lowering, step: Step) -> Tensor:
    a, build, coded = step.attributes, low.build, counted(low, step)
    if coded is None:
        x, y = low.numbers(step)
        return build.batch_matmul(x, y, a["left"], a["right"])
    x, y = (build.counts(each) for each in coded)
    scale = np.prod([each.codes.scale for each in coded if each.codes], axis=0, dtype=np.float32)
    return build.times(build.batch_matmul(x, y, a["left"], a["right"]), scale.reshape(()))


def counted(low: Lowering, step: Step) -> list[Tensor] | None:
    """The operands in codes of 8 bits, if they have some: their sums of products are exact in floats then.

    Numbers are multiples of a scale that are rounded, and so are their products: in codes of what they make,
    about one in ten thousand comes out otherwise.
    """
    found = low.codes(step)
    return found if found is not None and all(each.dtype == "int8" for each in found) else None


def _coded_matmul(low: Lowering, step: Step) -> Tensor | None:
    """Of 8 bits none: both operands may have codes of −128, whose products overflow (see `layers`)."""
    a, found, codes = step.attributes, low.codes(step), low.wanted.get(step.output)
    if found is None or codes is None or codes.dtype == "int8":
        return None
    return low.build.batch_matmul(found[0], found[1], a["left"], a["right"], codes)


def _gemm(low: Lowering, step: Step) -> Tensor:
    a, build, (x, y, *added) = step.attributes, low.build, low.numbers(step)
    product = build.batch_matmul(x, y, a["left"], a["right"])
    product = product if a["alpha"] == 1.0 else build.times(product, a["alpha"])
    if not added:
        return product
    return build.plus(product, added[0] if a["beta"] == 1.0 else build.times(added[0], a["beta"]))


def _einsum(low: Lowering, step: Step) -> Tensor:
    """Operand by operand, each pair as one product of matrices (NumPy's `einsum` defines the notation)."""
    operands = low.numbers(step)
    terms, result = _terms(step.attributes["equation"], [len(x.shape) for x in operands])
    (left, one), *others = zip(terms, operands, strict=True)
    for place, (right, other) in enumerate(others):
        later = set(result).union(*(term for term, _ in others[place + 1 :]))
        left, one = _contracted(low.build, (left, one), (right, other), later)
    return low.build.transpose(one, [left.index(label) for label in result])


def _terms(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The labels of each operand's axes and the result's; those of an ellipsis are capital Greek letters."""
    sides = equation.split("->")
    terms = sides[0].split(",")
    most = max(rank - len(t) + 3 if "..." in t else 0 for t, rank in zip(terms, ranks, strict=True))
    free = "".join(chr(0x391 + i) for i in range(most))
    spelled = [
        t.replace("...", free[most - (rank - len(t) + 3) :] if "..." in t else "")
        for t, rank in zip(terms, ranks, strict=True)
    ]
    if len(sides) > 1:
        return spelled, sides[1].replace("...", free)
    labels = "".join(terms).replace(".", "")
    return spelled, free + "".join(sorted(label for label in set(labels) if labels.count(label) == 1))


Labelled = tuple[str, Tensor]


def _contracted(build: Builder, left: Labelled, right: Labelled, later: set[str]) -> Labelled:
    """The product of two operands, summed over the labels that nothing later has."""
    left, right = _summed(build, left, set(right[0]) | later), _summed(build, right, set(left[0]) | later)
    both = [label for label in left[0] if label in right[0]]
    batch = [label for label in both if label in later]
    inner = [label for label in both if label not in later]
    rows, columns = ([t for t in term[0] if t not in both] for term in (left, right))
    sizes = dict(zip(right[0], right[1].shape, strict=True)) | {
        label: size
        for label, size in zip(left[0], left[1].shape, strict=True)
        if size != 1 or label not in right[0]
    }
    x, y = _grouped(build, left, (batch, rows, inner)), _grouped(build, right, (batch, inner, columns))
    product = build.batch_matmul(x, y)
    labels = [*batch, *rows, *columns]
    return "".join(labels), build.reshape(product, [sizes[label] for label in labels])


def _summed(build: Builder, term: Labelled, kept: set[str]) -> Labelled:
    labels, x = term
    axes = [i for i, label in enumerate(labels) if label not in kept]
    return "".join(label for label in labels if label in kept), build.reduce("SUM", x, axes, keepdims=False)


def _grouped(build: Builder, term: Labelled, groups: Sequence[Sequence[str]]) -> Tensor:
    """The tensor as a stack of matrices: batch axes as they are, rows and columns each joined to one axis."""
    labels, x = term
    order = [labels.index(label) for group in groups for label in group]
    turned = build.transpose(x, order)
    shape = dict(zip(labels, x.shape, strict=True))
    batch, *others = groups
    joined = []
    for group in others:
        size = 1
        for label in group:
            size *= shape[label]
        joined.append(size)
    return build.reshape(turned, [*(shape[label] for label in batch), *joined])


RULES = {
    "matmul": Rule(_matmul, _coded_matmul),
    "gemm": Rule(_gemm),
    "einsum": Rule(_einsum),
}
