"""What becomes of the scores that the classifiers and regressors of ai.onnx.ml compute."""

import numpy as np

from edgepress.translate.plan import Array
from edgepress.translate.written_out import Sketch, Term


def transformed(s: Sketch, scores: Term, transform: str = "") -> Term:
    """The scores (N, classes) after this transform, or else the node's post_transform."""
    given = transform or s.attribute("post_transform", "NONE")
    kind = given.decode() if isinstance(given, bytes) else given
    if kind == "NONE":
        return scores
    if kind == "LOGISTIC":
        return s("Sigmoid", scores)
    if kind == "SOFTMAX":
        return s("Softmax", scores, axis=1)
    if kind == "SOFTMAX_ZERO":
        power = s("Exp", scores - scores.reduce("ReduceMax", 1, keepdims=True))
        kept = s.where(s("Abs", scores) > 1e-7, power, s.constant(np.zeros((), np.float32)))
        return kept / kept.sum(1, keepdims=True)
    raise s.refuse(f"post_transform {kind} needs the inverse of erf, which TFLite has no kernel for")


def label_values(s: Sketch) -> Array:
    """The labels of the classes.

    Raises:
        UnsupportedModelError: they are text, and read.
    """
    for name in ("classlabels_ints", "classlabels_int64s"):
        if s.attribute(name):
            return np.array(s.attribute(name), np.int64)
    text = s.attribute("classlabels_strings", [])
    if s.planner.readers.get(s.node.outputs[0]) or s.node.outputs[0] in s.planner.outputs:
        raise s.refuse(
            f"its labels ({', '.join(map(_text, text[:3]))}…) are text, which TFLite does not compute with; "
            "train it with numbered classes, or take its probabilities alone (--outputs)"
        )
    return np.arange(len(text))


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def labelled(s: Sketch, scores: Term) -> Term:
    """The label (N) of the highest score."""
    _, place = s.several("TopK", 2, scores, np.array([1]))
    return named(s, place.reshape(-1))


def named(s: Sketch, place: Term) -> Term:
    """The label of each class number."""
    labels = label_values(s)
    if (labels == np.arange(labels.size)).all():
        return place.cast("int64")
    return s.constant(labels).take(place)
