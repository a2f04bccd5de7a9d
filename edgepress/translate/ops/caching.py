"""TensorScatter: new keys or values written into a cache, each sample's from a place of its own."""

import math

import numpy as np

from edgepress.translate.planner import OpPlanner
from edgepress.translate.written_out import Sketch, Term, written


def _tensor_scatter(s: Sketch) -> Term:
    """Each place of the cache looks for what is new there: nothing is moved, and no place written twice."""
    shape, new = s.sizes(0), s.sizes(1)
    axis = int(s.attribute("axis", -2)) % len(shape)
    size, count, samples = shape[axis], new[axis], shape[0]
    before, behind = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    starts = s.operand(2).cast("int32") if s.has(2) else s.constant(np.zeros(samples, np.int32))
    ahead = s.constant(np.arange(size, dtype=np.int32)) - starts.reshape(samples, 1)
    if s.attribute("mode", b"linear") in (b"circular", "circular"):
        ahead = s("Mod", ahead, size)
    inside = (ahead >= 0) & (ahead < count)
    place = ahead.clip(0, count - 1)
    each = before // samples
    firsts = np.arange(before, dtype=np.int32).reshape(samples, each, 1) * count
    rows = place.reshape(samples, 1, size) + s.constant(firsts)
    taken = s.operand(1).reshape(before * count, behind).take(rows)
    kept = s.operand(0).reshape(samples, each, size, behind)
    return s.where(inside.reshape(samples, 1, size, 1), taken, kept).reshape(*shape)


PLANNERS: dict[str, OpPlanner] = {"TensorScatter": written(_tensor_scatter)}
