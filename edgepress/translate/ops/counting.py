"""TfIdfVectorizer: how often each of a list of n-grams of numbers occurs in a sequence of them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgepress.translate.plan import Array
from edgepress.translate.planner import OpPlanner
from edgepress.translate.written_out import Sketch, Term, written

MOST_COMPARISONS = 1 << 24
"""So many numbers of the sequence are compared with n-grams at most."""


def _grams(s: Sketch) -> tuple[list[Array], Array, Array]:
    """For each length, in order, its n-grams (n-grams, length), and the place and the weight of each.

    Lengths that are not asked for have none.
    """
    pool, starts = np.array(s.attribute("pool_int64s"), np.int64), s.attribute("ngram_counts")
    asked = range(s.attribute("min_gram_length"), s.attribute("max_gram_length") + 1)
    places = np.array(s.attribute("ngram_indexes"), np.int64)
    given = None if _text(s.attribute("mode")) == "TF" else s.attribute("weights")
    weights = np.array(given or np.ones(len(places)), np.float32)
    grams, kept, seen = list[Array](), list[Array](), 0
    for length, (start, end) in enumerate(zip(starts, [*starts[1:], pool.size], strict=True), 1):
        own = pool[start:end].reshape(-1, length)
        numbers = np.arange(seen, seen + len(own))
        seen += len(own)
        grams.append(own if length in asked else own[:0])
        kept.append(numbers if length in asked else numbers[:0])
    chosen = np.concatenate(kept)
    return grams, places[chosen], weights[chosen]


def _found(s: Sketch, x: Term, grams: Array, length: int, skips: int) -> Term | None:
    """(samples, n-grams): how often each occurs in rows of `length` numbers, with up to `skips` between."""
    total: Term | None = None
    size = grams.shape[1]
    for step in range(1, skips + 2 if size > 1 else 2):
        windows = length - step * (size - 1)
        if windows < 1:
            break
        hit: Term | None = None
        for place in range(size):
            part = x.cut(1, place * step, place * step + windows).unsqueeze(2)
            same = part.equals(s.constant(grams[None, None, :, place].astype(x.dtype)))
            hit = same if hit is None else hit & same
        assert hit is not None
        count = hit.cast("float32").sum(1)
        total = count if total is None else total + count
    return total


def _tf_idf(s: Sketch) -> Term:
    """Counts, whether there are any, or counts by weights, as `mode` asks."""
    if s.attribute("pool_strings"):
        raise s.refuse("it takes text, which TFLite does not compute with; number the words")
    shape, x = s.sizes(0), s.operand(0)
    grams, places, weights = _grams(s)
    _check_size(s, grams, shape)
    most = max((int(np.abs(own).max(initial=0)) for own in grams), default=0)
    x = x.cast("int64") if most > np.iinfo(np.int32).max else x
    rows, skips = x if len(shape) > 1 else x.unsqueeze(0), s.attribute("max_skip_count")
    parts = []
    for own in filter(len, grams):
        counts = _found(s, rows, own, shape[-1], skips)
        if counts is None:
            zeros = np.zeros((1, len(own)), np.float32)
            counts = (rows.cut(1, 0, 1) * 0).cast("float32") * s.constant(zeros)
        parts.append(counts)
    counts = s.concat(parts, 1)
    counts = counts.clip(0, 1) if _text(s.attribute("mode")) == "IDF" else counts
    counts = counts if (weights == 1).all() else counts * s.constant(weights)
    made = _placed(s, counts, places)
    return made if len(shape) > 1 else made.reshape(-1)


def _check_size(s: Sketch, grams: Sequence[Array], shape: Sequence[int]) -> None:
    if not any(map(len, grams)):
        raise s.refuse("it has no n-grams of the lengths that it asks for")
    if math.prod(shape) * max(map(len, grams)) > MOST_COMPARISONS:
        raise s.refuse(
            f"it compares {math.prod(shape)} numbers with {max(map(len, grams))} n-grams; "
            f"expected at most {MOST_COMPARISONS} pairs"
        )


def _placed(s: Sketch, counts: Term, places: Array) -> Term:
    """Each n-gram's count at its place of the result; those of one place are added up."""
    every = np.array(s.attribute("ngram_indexes"), np.int64)
    width, number = int(every.max()) + 1, len(places)
    once = len(np.unique(places)) == number
    if not once and _text(s.attribute("mode")) == "IDF":
        raise s.refuse(
            "several n-grams have one place of its result, and mode IDF takes the first that occurs"
        )
    if once and number == width:
        return counts if (places == np.arange(number)).all() else counts.take(np.argsort(places), 1)
    table = np.zeros((number, width), np.float32)
    table[np.arange(number), places] = 1
    return s("MatMul", counts, table)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


PLANNERS: dict[str, OpPlanner] = {"TfIdfVectorizer": written(_tf_idf)}
