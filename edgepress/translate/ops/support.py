"""Classifiers by support vectors, with the probabilities that LIBSVM makes of its pairs of classes.

Sources: ONNX Runtime's kernel, and Wu, Lin, Weng: Probability Estimates for Multi-class Classification by
Pairwise Coupling (2004), algorithm 2.
"""

from itertools import combinations
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgepress.translate.ops.scoring import labelled, named
from edgepress.translate.plan import Array
from edgepress.translate.written_out import Sketch, Term

_ROUNDS = 100
"""So often LIBSVM improves its probabilities at most."""
_NEAR = 0.005
"""It stops at this error, divided by the number of classes."""


def likeness(s: Sketch, x: Term, vectors: Array) -> Term:
    """(samples, vectors): the node's kernel function of each sample and each support vector."""
    gamma, shift, degree = s.attribute("kernel_params", [0.0, 0.0, 3.0])
    kind = text_of(s.attribute("kernel_type", b"LINEAR"))
    product = s("MatMul", x, s.constant(np.ascontiguousarray(vectors.T)))
    if kind == "RBF":
        squares = (x * x).sum(1, keepdims=True)
        far = squares - product * 2.0 + s.constant((vectors**2).sum(axis=1)[None])
        return s("Exp", far * -gamma)
    if kind == "POLY":
        return s("Pow", product * gamma + shift, float(degree))
    return s("Tanh", product * gamma + shift) if kind == "SIGMOID" else product


def text_of(value: Any) -> str:
    """An attribute that is text."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _given(s: Sketch, name: str) -> Array:
    return np.array(s.attribute(name) or [], np.float32)


def classifier(s: Sketch) -> list[Term]:
    """The label, and a score for each class or pair of classes, or the probability of each class."""
    if text_of(s.attribute("post_transform", b"NONE")) != "NONE":
        raise s.refuse("it has a post_transform; expected NONE, as scikit-learn's converter writes it")
    counts, x = s.attribute("vectors_per_class") or [], s.operand(0).cast("float32")
    if not counts:
        return _linear(s, x)
    vectors = _given(s, "support_vectors").reshape(sum(counts), -1)
    pairs = s("MatMul", likeness(s, x, vectors), _pair_weights(s, counts)) + s.constant(
        _given(s, "rho")[None]
    )
    place = _most_votes(s, pairs, len(counts))
    if s.attribute("prob_a"):
        return [named(s, place), _probabilities(s, pairs, len(counts))]
    if len(counts) > 2:
        return [named(s, place), pairs]
    if _given(s, "coefficients").min() >= 0:
        raise s.refuse(
            "it tells two classes apart by weights of one sign, whose label is not that of its score"
        )
    return [named(s, place), s.concat([-pairs, pairs], 1)]


def _linear(s: Sketch, x: Term) -> list[Term]:
    """Without support vectors: a row of coefficients for each class."""
    labels = next(filter(None, map(s.attribute, ("classlabels_ints", "classlabels_strings"))))
    if len(labels) < 3 or _given(s, "rho").size > 1:
        raise s.refuse("it has no support vectors, and two classes or several shifts; take LinearClassifier")
    weights = _given(s, "coefficients").reshape(len(labels), -1).T
    scores = s("MatMul", x, s.constant(np.ascontiguousarray(weights))) + float(_given(s, "rho")[0])
    return [labelled(s, scores), scores]


def _pair_weights(s: Sketch, counts: list[int]) -> Array:
    """(vectors, pairs): those of the two classes of each pair, each as it counts against the other."""
    ends = np.cumsum([0, *counts])
    given = _given(s, "coefficients").reshape(len(counts) - 1, -1)
    pairs = list(combinations(range(len(counts)), 2))
    made = np.zeros((ends[-1], len(pairs)), np.float32)
    for number, (one, other) in enumerate(pairs):
        for own, against in ((one, other - 1), (other, one)):
            span = slice(ends[own], ends[own + 1])
            made[span, number] = given[against, span]
    return made


def _most_votes(s: Sketch, pairs: Term, count: int) -> Term:
    """(samples,): the class that wins most pairs, the first of several such."""
    first, second = (np.zeros((count * (count - 1) // 2, count), np.float32) for _ in range(2))
    for number, (one, other) in enumerate(combinations(range(count), 2)):
        first[number, one] = second[number, other] = 1
    wins = (pairs > 0.0).cast("float32")
    votes = s("MatMul", wins, first) + s("MatMul", 1.0 - wins, second)
    return s("ArgMax", votes, axis=1, keepdims=0)


def _probabilities(s: Sketch, pairs: Term, count: int) -> Term:
    """(samples, classes), of the probability that each pair's first class is right."""
    share = s(
        "Sigmoid", -(pairs * s.constant(_given(s, "prob_a")[None]) + s.constant(_given(s, "prob_b")[None]))
    )
    share = share.clip(1e-7, 1 - 1e-7)
    rows, columns = np.zeros((2, count * (count - 1) // 2, count * count), np.float32)
    for number, (one, other) in enumerate(combinations(range(count), 2)):
        rows[number, one * count + other] = columns[number, other * count + one] = 1
    won = s("MatMul", share, rows) + s("MatMul", 1.0 - share, columns)
    won = won.reshape(-1, count, count)
    lost = won.transpose(0, 2, 1)
    diagonal = s.constant(np.eye(count, dtype=np.float32)[None])
    squares = (lost * lost).sum(2, keepdims=True)
    matrix = diagonal * squares - won * lost
    start = pairs.cut(1, 0, 1) * 0.0 + s.constant(np.full((1, count), 1 / count, np.float32))
    trips, go = s.constant(np.array(_ROUNDS)), s.constant(np.array(True))
    made = s("Loop", trips, go, start, body=_coupling(matrix.name, count))
    return Term(s, made.name, "float32")


def _coupling(matrix: str, count: int) -> onnx.GraphProto:
    """A round: each class in turn gets what lowers the error, where it is not small enough already."""
    nodes, constants = list[onnx.NodeProto](), list[onnx.TensorProto]()

    def add(op: str, *operands: Any, **given: Any) -> str:
        names = [each if isinstance(each, str) else constant(each) for each in operands]
        nodes.append(helper.make_node(op, names, [f"round{len(nodes)}"], **given))
        return f"round{len(nodes) - 1}"

    def constant(value: Any) -> str:
        name = f"number{len(constants)}"
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    one, axes = np.float32(1), np.array([1])
    by = add("Squeeze", add("MatMul", matrix, add("Unsqueeze", "before", np.array([2]))), np.array([2]))
    total = add("ReduceSum", add("Mul", "before", by), axes)
    apart = add("Abs", add("Sub", by, total))
    error, _ = add("TopK", apart, axes, axis=1), nodes[-1].output.append("unread")
    active = add("Greater", error, np.float32(_NEAR / count))
    p = "before"
    for place in range(count):
        number = np.array([place])
        row = add("Squeeze", add("Gather", matrix, number, axis=1), axes)
        own, mine = (add("Gather", each, number, axis=1) for each in (row, by))
        more = add("Div", add("Sub", total, mine), own)
        grown = add("Add", more, one)
        unit = np.eye(count, dtype=np.float32)[place][None]
        p = add("Div", add("Add", p, add("Mul", more, unit)), grown)
        step = add("Mul", more, add("Add", add("Mul", more, own), add("Mul", mine, np.float32(2))))
        total = add("Div", add("Add", total, step), add("Mul", grown, grown))
        by = add("Div", add("Add", by, add("Mul", more, row)), grown)
    after = add("Where", active, p, "before")
    any_active = add("Cast", add("ReduceMax", add("Cast", active, to=TensorProto.FLOAT), keepdims=0), to=9)
    kinds = {"number": TensorProto.INT64, "go": TensorProto.BOOL}
    entries = [helper.make_tensor_value_info(name, kind, []) for name, kind in kinds.items()]
    state = helper.make_tensor_value_info("before", TensorProto.FLOAT, [None, count])
    ends = [
        helper.make_tensor_value_info(any_active, TensorProto.BOOL, []),
        helper.make_tensor_value_info(after, TensorProto.FLOAT, [None, count]),
    ]
    return helper.make_graph(nodes, "coupling", [*entries, state], ends, constants)
