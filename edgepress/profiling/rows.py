"""Brings the operators of a candidate beside those of its baseline."""

import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from edgepress.profiling.times import ModelTimes, OperatorTime

_NEVER = 1e6
_WIDTH = 60
_PREFIX = re.compile(r"^(QLinear|DynamicQuantize|NhwcFused|Fused|Nhwc|Q(?=Gemm))")
_SUFFIX = re.compile(r"Integer(ToFloat)?$")
_APPENDED = re.compile(r"_(quant|nchwc|nhwc|token_\d+)$")
_SAME_KIND = {"FULLY_CONNECTED": "CONV_2D", "Gemm": "MatMul", "Sum": "Add"}
"""A dense layer is a 1×1 convolution in some `.tflite`, and a MatMul in some quantised ONNX models."""


@dataclass(frozen=True)
class Cell:
    """One model's part of a row."""

    ms: float
    error_ms: float


@dataclass(frozen=True)
class Row:
    """A layer; a model that lacks it has no cell. `layer` is unlike that of any other row."""

    layer: str
    operator: str
    candidate: Cell | None
    baseline: Cell | None

    @property
    def speedup(self) -> float | None:
        """How many times as fast the candidate is, where both times are known from zero."""
        if self.candidate is None or self.baseline is None:
            return None
        if any(cell.ms <= cell.error_ms for cell in (self.candidate, self.baseline)):
            return None
        return self.baseline.ms / self.candidate.ms

    @property
    def loss_ms(self) -> float | None:
        """What the candidate takes longer, if that is more than both errors."""
        if self.candidate is None or self.baseline is None:
            return None
        loss = self.candidate.ms - self.baseline.ms
        return loss if loss > self.candidate.error_ms + self.baseline.error_ms else None


def rows(candidate: ModelTimes, baseline: ModelTimes | None) -> list[Row]:
    """A row for each layer, in the candidate's order.

    Operators belong to each other if they are of one kind and make as much: those first whose names share
    more of their path, such as `net.stack2.skip`, and of these the ones that are nearest in order. Operators
    that are joined in one of the models make one row with all that belongs to them.
    """
    ours, theirs = candidate.operators, baseline.operators if baseline else ()
    groups = _groups(ours, theirs, _matches(ours, theirs))
    ordered = _ordered(groups, len(theirs))
    return [
        _row(number, [ours[i] for i in own], [theirs[j] for j in others])
        for number, (own, others) in enumerate(ordered, 1)
    ]


def _matches(ours: Sequence[OperatorTime], theirs: Sequence[OperatorTime]) -> list[tuple[int, int]]:
    if not ours or not theirs:
        return []
    costs = np.array(
        [[_cost(a, b) + (i / len(ours) - j / len(theirs)) ** 2 for j, b in enumerate(theirs)]
         for i, a in enumerate(ours)]
    )  # fmt: skip
    pairs = zip(*linear_sum_assignment(costs), strict=True)
    return [(int(i), int(j)) for i, j in pairs if costs[i, j] < _NEVER / 2]


def _cost(ours: OperatorTime, theirs: OperatorTime) -> float:
    """The less, the more they have in common; under one name, channels may be padded in one of them."""
    if _kind(ours.operator) != _kind(theirs.operator):
        return _NEVER
    one, other = _path(ours.name), _path(theirs.name)
    same = itertools.takewhile(lambda parts: parts[0] == parts[1], zip(one, other, strict=False))
    shared = len(list(same))
    same_layer = shared > 0 and shared >= min(len(one), len(other)) - 1
    return -float(shared) if same_layer or _extent(ours.shape) == _extent(theirs.shape) else _NEVER


@functools.cache
def _kind(operator: str) -> str:
    """The operator without what quantisation and fusion make of its name; of several, the last one's."""
    plain = _SUFFIX.sub("", _PREFIX.sub("", operator.split(" + ")[-1]))
    return _SAME_KIND.get(plain, plain)


def _extent(shape: Sequence[int]) -> list[int]:
    """The same for NCHW and NHWC."""
    return sorted(length for length in shape if length != 1)


@functools.cache
def _path(name: str) -> list[str]:
    """The parts of the first node's name, without what ONNX Runtime appends to it."""
    return [part for part in re.split(r"[/.]", _APPENDED.sub("", name.split(";")[0])) if part]


Group = tuple[list[int], list[int]]


def _groups(
    ours: Sequence[OperatorTime], theirs: Sequence[OperatorTime], matches: list[tuple[int, int]]
) -> list[Group]:
    """The operators that are bound to each other, by a match or by being joined: of ours, and of theirs."""
    names = list(range(len(ours) + len(theirs)))
    bonds = [(i, len(ours) + j) for i, j in matches]
    bonds += [(i - 1, i) for i, each in enumerate(ours) if each.joined]
    bonds += [(len(ours) + j - 1, len(ours) + j) for j, each in enumerate(theirs) if each.joined]
    for one, other in bonds:
        old, new = names[one], names[other]
        names = [new if name == old else name for name in names]
    members = {name: [i for i, each in enumerate(names) if each == name] for name in dict.fromkeys(names)}
    return [
        ([i for i in group if i < len(ours)], [i - len(ours) for i in group if i >= len(ours)])
        for group in members.values()
    ]


def _ordered(groups: list[Group], baseline_operators: int) -> Iterator[Group]:
    """In the candidate's order; what it lacks comes behind what it has of the baseline before it."""
    places, last = dict[int, tuple[int, int]](), (-1, -1)
    owner = {j: number for number, (_, theirs) in enumerate(groups) for j in theirs}
    for j in range(baseline_operators):
        ours = groups[owner[j]][0]
        last = (min(ours), -1) if ours else (last[0], j)
        places.setdefault(owner[j], last)
    numbers = range(len(groups))
    for i in sorted(numbers, key=lambda i: places[i] if i in places else (min(groups[i][0]), -1)):
        yield groups[i]


def _row(number: int, ours: list[OperatorTime], theirs: list[OperatorTime]) -> Row:
    operator, before = (" + ".join(each.operator for each in times) for times in (ours, theirs))
    last = (ours or theirs)[-1]
    shape = "×".join(map(str, last.shape[1:] or last.shape)) or "scalar"
    layer = _shortened(_joined(_APPENDED.sub("", last.name))) or f"{last.operator.split(' + ')[-1]} {shape}"
    both = operator if operator == before or not before else f"{before} → {operator}" if operator else before
    return Row(f"{number:02} {layer}", both, _cell(ours), _cell(theirs))


def _joined(name: str) -> str:
    """The nodes of an operator's name: behind the first one, without the path that they share with it."""
    first, *others = [node for node in name.split(";") if not node.startswith(".")] or [""]
    for number, node in enumerate(others):
        same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, node, strict=False))
        shared = re.match(r".*[/.]", "".join(one for one, _ in same))
        others[number] = node[shared.end() :] if shared else node
    return " + ".join([first, *others])


def _shortened(name: str) -> str:
    """The end of a name, which tells layers apart, if the whole would fill a line."""
    return name if len(name) <= _WIDTH else f"…{name[1 - _WIDTH :]}"


def _cell(times: list[OperatorTime]) -> Cell | None:
    if not times:
        return None
    return Cell(max(0.0, sum(t.ms for t in times)), float(np.hypot.reduce([t.error_ms for t in times])))
