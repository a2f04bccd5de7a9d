"""The operators of ai.onnx.ml, as scikit-learn's converter writes them, in simpler operators.

Sources: the operators' definitions and ONNX Runtime's kernels, which settle what these leave open.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from edgepress.translate.ops.scoring import labelled, transformed
from edgepress.translate.ops.support import classifier, likeness, text_of
from edgepress.translate.ops.trees import TREES
from edgepress.translate.plan import Array
from edgepress.translate.planner import Node, OpPlanner, Planner, unsupported
from edgepress.translate.written_out import Sketch, Term, written


def _numbers(s: Sketch, index: int = 0) -> Term:
    return s.operand(index).cast("float32")


def _given(s: Sketch, name: str, default: float = 0.0) -> Array:
    return np.array(s.attribute(name, [default]), np.float32)


def _scaler(s: Sketch) -> Term:
    return (_numbers(s) - s.constant(_given(s, "offset"))) * s.constant(_given(s, "scale", 1.0))


def _binarizer(s: Sketch) -> Term:
    x = s.operand(0)
    above: Term = x > s.attribute("threshold", 0.0)
    return above.cast(x.dtype)


def _normalizer(s: Sketch) -> Term:
    """Rows by their norm, unless that is 0."""
    x, kind = _numbers(s), s.attribute("norm", b"MAX")
    last = len(s.planner.shape(s.node.inputs[0])) - 1
    if text_of(kind) == "MAX":
        norm = x.reduce("ReduceMax", last, keepdims=True)
    elif text_of(kind) == "L1":
        norm = s("Abs", x).sum(last, keepdims=True)
    else:
        norm = s("Sqrt", (x * x).sum(last, keepdims=True))
    return x / s.where(norm.equals(0.0), 1.0, norm)


def _imputer(s: Sketch) -> Term:
    """Another number in place of one that stands for none, each column's own."""
    x = s.operand(0)
    whole = x.dtype.startswith("int")
    name, missing = (
        ("imputed_value_int64s", "replaced_value_int64")
        if whole
        else ("imputed_value_floats", "replaced_value_float")
    )
    instead = np.array(s.attribute(name, [0]), x.dtype)
    number = s.attribute(missing, 0 if whole else 0.0)
    absent = s("Not", x.equals(x)) if not whole and np.isnan(number) else x.equals(number)
    return s.where(absent, s.constant(instead), x)


def _features(s: Sketch) -> Term:
    """Columns of one axis; of a vector they make one row."""
    rank = len(s.planner.shape(s.node.inputs[0]))
    places = s.operand(1).reshape(-1)
    made = s.operand(0).take(places, rank - 1)
    return made.unsqueeze(0) if rank == 1 else made


def _vectorizer(s: Sketch) -> Term:
    parts = []
    for index, name in enumerate(s.node.inputs):
        part = _numbers(s, index)
        parts.append(part if len(s.planner.shape(name)) > 1 else part.unsqueeze(1))
    return s.concat(parts, 1)


def _one_hot_encoder(s: Sketch) -> Term:
    known = s.attribute("cats_int64s")
    if not known:
        raise s.refuse("it takes text, which TFLite does not compute with; encode the categories before")
    x = s.operand(0)
    return x.unsqueeze(-1).equals(s.constant(np.array(known, x.dtype))).cast("float32")


def _label_encoder(s: Sketch) -> Term:
    """Each known number's own; for others a default."""
    keys, values, default = _label_tables(s)
    x, made = s.operand(0), s.planner.dtype_name(s.node.outputs[0])
    same = x.unsqueeze(-1).equals(s.constant(keys.astype(x.dtype)))
    rank = len(s.planner.shape(s.node.inputs[0]))
    chosen = s.where(same, s.constant(values.astype(made)), s.constant(np.zeros((), made))).sum(rank)
    found = same.cast("int32").sum(rank) > 0
    return s.where(found, chosen, s.constant(np.array(default, made)))


def _label_tables(s: Sketch) -> tuple[Array, Array, Any]:
    found = {}
    for part in ("keys", "values"):
        for kind in ("int64s", "floats"):
            if s.attribute(f"{part}_{kind}"):
                found[part] = (kind, np.array(s.attribute(f"{part}_{kind}")))
    if len(found) < 2:
        raise s.refuse("it takes or gives text, which TFLite does not compute with; number the labels")
    kind, values = found["values"]
    default = s.attribute("default_int64", -1) if kind == "int64s" else s.attribute("default_float", -0.0)
    return found["keys"][1], values, default


# Linear models and support vectors


def _require_coefficients(s: Sketch, rows: int) -> None:
    """Refuse a file that skl2onnx got wrong, as behind an imputer with indicators, which it leaves out."""
    features, found = s.planner.shape(s.node.inputs[0])[-1], len(s.attribute("coefficients", []))
    if features is not None and found != rows * features:
        raise s.refuse(
            f"it has {found} coefficients for {rows}×{features}, outputs by features; export the model again"
        )


def _linear_regressor(s: Sketch) -> Term:
    count = s.attribute("targets", 1)
    _require_coefficients(s, count)
    weights = _given(s, "coefficients").reshape(count, -1).T
    made = s("MatMul", _numbers(s), s.constant(weights)) + s.constant(_given(s, "intercepts").reshape(1, -1))
    return transformed(s, made)


def _linear_classifier(s: Sketch) -> list[Term]:
    shift = _given(s, "intercepts")
    _require_coefficients(s, shift.size)
    weights = _given(s, "coefficients").reshape(shift.size, -1).T
    scores = s("MatMul", _numbers(s), s.constant(weights)) + s.constant(shift.reshape(1, -1))
    if shift.size == 1:
        raise s.refuse(
            "it has one row of coefficients for two classes; export the model with a newer skl2onnx"
        )
    return [labelled(s, scores), transformed(s, scores)]


def _svm_regressor(s: Sketch) -> Term:
    """A sum of the likenesses to all support vectors."""
    count, x = s.attribute("n_supports", 0), _numbers(s)
    weights = _given(s, "coefficients").reshape(-1, 1)
    if count:
        alike = likeness(s, x, _given(s, "support_vectors").reshape(count, -1))
        made = s("MatMul", alike, s.constant(weights))
    else:
        made = s("MatMul", x, s.constant(weights))
    made = made + s.constant(_given(s, "rho").reshape(1, -1))
    if s.attribute("one_class", 0):
        made = s.where(made > 0.0, s.constant(np.ones((), np.float32)), -1.0)
    return transformed(s, made)


def _refused(why: str) -> OpPlanner:
    def plan(node: Node, planner: Planner) -> None:
        raise unsupported(node, why)

    return plan


_WRITTEN: dict[str, Callable[[Sketch], Any]] = {
    "ArrayFeatureExtractor": _features,
    "Binarizer": _binarizer,
    "FeatureVectorizer": _vectorizer,
    "Imputer": _imputer,
    "LabelEncoder": _label_encoder,
    "LinearClassifier": _linear_classifier,
    "LinearRegressor": _linear_regressor,
    "Normalizer": _normalizer,
    "OneHotEncoder": _one_hot_encoder,
    "SVMClassifier": classifier,
    "SVMRegressor": _svm_regressor,
    "Scaler": _scaler,
    **TREES,
}
_TEXT = "it takes or gives text, which TFLite does not compute with; encode it before the network"
PLANNERS: dict[str, OpPlanner] = {
    **{f"ai.onnx.ml.{op}": written(function) for op, function in _WRITTEN.items()},
    **dict.fromkeys(("ai.onnx.ml.CategoryMapper", "ai.onnx.ml.DictVectorizer"), _refused(_TEXT)),
}
