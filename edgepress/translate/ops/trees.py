"""Ensembles of trees: all trees are walked down at once, a level with each step."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from edgepress.translate.ops.scoring import labelled, named, transformed
from edgepress.translate.plan import Array
from edgepress.translate.written_out import Sketch, Term

_COMPARED = {
    "BRANCH_LEQ": "LessOrEqual",
    "BRANCH_LT": "Less",
    "BRANCH_GTE": "GreaterOrEqual",
    "BRANCH_GT": "Greater",
    "BRANCH_EQ": "Equal",
    "BRANCH_NEQ": "Equal",
}
_MEMBER = "BRANCH_MEMBER"


@dataclass(frozen=True)
class Forest:
    """For each node of all trees its feature, threshold and children; a leaf is its own child."""

    features: Array
    thresholds: Array
    yes: Array
    no: Array
    modes: list[str]
    absent: Array
    roots: Array
    numbers: dict[tuple[int, int], int]
    members: Array = field(default_factory=lambda: np.zeros((0, 1), np.float32))
    """For each node a row, which holds the members of its set, if it tests for such, and NaN."""

    @property
    def depth(self) -> int:
        """The number of steps that reach every leaf."""
        level, places = 0, self.roots
        while (self.yes[places] != places).any():
            level, places = level + 1, np.unique(np.concatenate([self.yes[places], self.no[places]]))
        return level


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def forest_of(s: Sketch) -> Forest:
    """As the node's attributes have it."""
    trees, own = s.attribute("nodes_treeids"), s.attribute("nodes_nodeids")
    numbers = {key: number for number, key in enumerate(zip(trees, own, strict=True))}
    modes = [_text(mode) for mode in s.attribute("nodes_modes")]
    if unknown := set(modes) - {*_COMPARED, "LEAF"}:
        raise s.refuse(f"its nodes are of the kind {unknown.pop()}; expected {', '.join(_COMPARED)}")
    yes, no = (
        np.array(
            [
                number if mode == "LEAF" else numbers[tree, child]
                for number, (tree, child, mode) in enumerate(
                    zip(trees, s.attribute(name), modes, strict=True)
                )
            ]
        )
        for name in ("nodes_truenodeids", "nodes_falsenodeids")
    )
    inner = np.array([mode != "LEAF" for mode in modes])
    children = {*yes[inner].tolist(), *no[inner].tolist()}
    roots = np.array([number for number in range(len(modes)) if number not in children])
    absent = np.array(s.attribute("nodes_missing_value_tracks_true") or [0] * len(modes))
    features = np.array(s.attribute("nodes_featureids"))
    thresholds = np.array(s.attribute("nodes_values"), np.float32)
    return Forest(features, thresholds, yes, no, modes, absent, roots, numbers)


def leaves(s: Sketch, forest: Forest) -> Term:
    """(samples, trees): the number of the node at which each tree ends."""
    samples, width = s.sizes(0)
    x = s.operand(0).cast("float32").reshape(-1)
    first = s.constant((np.arange(samples, dtype=np.int32) * width)[:, None])
    place = s.constant(np.broadcast_to(forest.roots.astype(np.int32), (samples, len(forest.roots))))
    feature, yes, no = (
        s.constant(each.astype(np.int32)) for each in (forest.features, forest.yes, forest.no)
    )
    threshold = s.constant(forest.thresholds)
    for _ in range(forest.depth):
        value = x.take(feature.take(place) + first)
        goes = _decided(s, forest, value, threshold.take(place), place)
        place = s.where(goes, yes.take(place), no.take(place))
    return place


def _decided(s: Sketch, forest: Forest, value: Term, threshold: Term, place: Term) -> Term:
    modes = list(dict.fromkeys(mode for mode in forest.modes if mode != "LEAF"))
    goes: Term | None = None
    for mode in modes:
        own = _compared(s, forest, mode, value, threshold, place)
        if goes is not None:
            of = s.constant(np.array([each == mode for each in forest.modes])).take(place)
            own = s.where(of, own, goes)
        goes = own
    assert goes is not None
    if forest.absent.any():
        told = s.constant(forest.absent.astype(bool)).take(place)
        goes = s("Or", goes, s("Not", value.equals(value)) & told)
    return goes


def _compared(s: Sketch, forest: Forest, mode: str, value: Term, threshold: Term, place: Term) -> Term:
    if mode == _MEMBER:
        rows = s.constant(forest.members).take(place)
        return value.unsqueeze(2).equals(rows).cast("int32").reduce("ReduceMax", 2) > 0
    own = s(_COMPARED[mode], value, threshold)
    return s("Not", own) if mode == "BRANCH_NEQ" else own


def _weights(s: Sketch, forest: Forest, kind: str, count: int, absent: float = 0.0) -> Array:
    """(nodes, classes or targets)."""
    table = np.full((len(forest.modes), count), absent, np.float32)
    names = [s.attribute(f"{kind}_{part}") for part in ("treeids", "nodeids", "ids", "weights")]
    for tree, node, place, weight in zip(*names, strict=True):
        number = forest.numbers[tree, node]
        table[number, place] = np.float32(weight) + (
            0 if table[number, place] == absent else table[number, place]
        )
    return table


def _base(s: Sketch) -> Array:
    return np.array(s.attribute("base_values", [0.0]), np.float32)


def _regressor(s: Sketch) -> Term:
    forest, count = forest_of(s), s.attribute("n_targets", 1)
    kind = _text(s.attribute("aggregate_function", "SUM"))
    made = _aggregated(s, forest, _weights(s, forest, "target", count, _absent(kind)), kind)
    return transformed(s, made + s.constant(_base(s).reshape(1, -1)))


def _absent(kind: str) -> float:
    """What stands for a target that a tree's leaf says nothing of: the worst, or 0 in sums."""
    return {"MIN": 1.0, "MAX": -1.0}.get(kind, 0.0) * float(np.finfo(np.float32).max)


def _aggregated(s: Sketch, forest: Forest, weights: Array, kind: str) -> Term:
    """What the trees' leaves weigh, taken together."""
    each = s.constant(weights).take(leaves(s, forest))
    if kind in ("MIN", "MAX"):
        best = each.reduce(f"Reduce{kind.capitalize()}", 1)
        return s.where(best.equals(_absent(kind)), 0.0, best)
    made = each.sum(1)
    return made / float(len(forest.roots)) if kind == "AVERAGE" else made


def _classifier(s: Sketch) -> list[Term]:
    forest = forest_of(s)
    names = (s.attribute(f"classlabels_{kind}") for kind in ("int64s", "strings"))
    count, used = len(next(filter(None, names))), sorted(set(s.attribute("class_ids")))
    each = s.constant(_weights(s, forest, "class", count)).take(leaves(s, forest))
    if count == 2 and len(used) == 1:
        return _of_two(s, each.take(np.array(used), 2).sum(1))
    base = _base(s)
    scores = each.sum(1) + s.constant(base.reshape(1, -1)) if base.any() else each.sum(1)
    return [labelled(s, scores), transformed(s, scores)]


def _of_two(s: Sketch, score: Term) -> list[Term]:
    """One score (N, 1) for two classes: the second's share where no weight is below 0, else its lead."""
    base = _base(s)
    score = score + float(base[-1]) if base.any() else score
    share = min(s.attribute("class_weights")) >= 0
    place = (score > (0.5 if share else 0.0)).cast("int32").reshape(-1)
    if share:
        return [named(s, place), s.concat([1.0 - score, score], 1)]
    return [named(s, place), transformed(s, s.concat([-score, score], 1))]


_MODES = (*_COMPARED, _MEMBER)


def _ensemble(s: Sketch) -> Term:
    """As ai.onnx.ml 5 has it: leaves are numbered by themselves, and stand behind the nodes here."""
    numbers = np.asarray(onnx.numpy_helper.to_array(s.attribute("nodes_modes")))
    thresholds, weights = (
        np.asarray(onnx.numpy_helper.to_array(s.attribute(name))).astype(np.float32)
        for name in ("nodes_splits", "leaf_weights")
    )
    inner, ends = len(numbers), np.arange(len(weights)) + len(numbers)
    yes, no = (
        np.concatenate([np.where(s.attribute(leaf), inner, 0) + s.attribute(child), ends])
        for leaf, child in (
            ("nodes_trueleafs", "nodes_truenodeids"),
            ("nodes_falseleafs", "nodes_falsenodeids"),
        )
    )
    zeros = np.zeros(len(weights), np.int64)
    absent = np.concatenate([s.attribute("nodes_missing_value_tracks_true") or [0] * inner, zeros])
    forest = Forest(
        np.concatenate([s.attribute("nodes_featureids"), zeros]),
        np.concatenate([thresholds, zeros.astype(np.float32)]),
        yes,
        no,
        [*(_MODES[number] for number in numbers), *["LEAF"] * len(weights)],
        absent,
        np.array(s.attribute("tree_roots")),
        {},
        _members(s, numbers == _MODES.index(_MEMBER), inner + len(weights)),
    )
    kind = ("AVERAGE", "SUM", "MIN", "MAX")[s.attribute("aggregate_function", 1)]
    table = np.full((inner + len(weights), s.attribute("n_targets", 1)), _absent(kind), np.float32)
    table[ends, s.attribute("leaf_targetids")] = weights
    transform = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")[s.attribute("post_transform", 0)]
    return transformed(s, _aggregated(s, forest, table, kind), transform)


def _members(s: Sketch, tests: Array, count: int) -> Array:
    """The sets, which stand one behind the other and each end with NaN, in the rows of their nodes."""
    given = s.attribute("membership_values")
    values = np.zeros(0) if given is None else np.asarray(onnx.numpy_helper.to_array(given))
    ends = np.flatnonzero(np.isnan(values))
    sets = np.split(values, ends + 1)[: len(ends)]
    rows = np.full((count, max(map(len, sets), default=1)), np.nan, np.float32)
    for number, own in zip(np.flatnonzero(tests), sets, strict=True):
        rows[number, : len(own)] = own
    return rows


TREES: dict[str, Callable[[Sketch], Any]] = {
    "TreeEnsemble": _ensemble,
    "TreeEnsembleClassifier": _classifier,
    "TreeEnsembleRegressor": _regressor,
}
