"""Along one axis: where the largest element is, and sums of all elements up to each."""

from typing import Any

import numpy as np

from edgepress.translate.layout import Layout
from edgepress.translate.ops.broadcast import ranked
from edgepress.translate.planner import Node, OpPlanner, Planner


def plan_arg(node: Node, planner: Planner) -> None:
    """ArgMax and ArgMin: the place of the first such element, or of the last, along an axis, as int64."""
    value, a = ranked(node, planner, planner.value(node.inputs[0])), node.attributes
    axis = a.get("axis", 0) % len(value.shape)
    options: dict[str, Any] = {"axis": value.layout.position(axis), "keepdims": bool(a.get("keepdims", 1))}
    options["last"] = bool(a.get("select_last_index", 0))
    layout = value.layout if options["keepdims"] else _without(value.layout, axis)
    op = "arg_max" if node.op == "ArgMax" else "arg_min"
    planner.emit(node, op, (value,), layout, minimum=0.0, **options)


def _without(layout: Layout, axis: int) -> Layout:
    return Layout(tuple(one - (one > axis) for one in layout.order if one != axis))


def plan_cum_sum(node: Node, planner: Planner) -> None:
    """The sum of the elements before each and, unless `exclusive`, of itself; from the end with `reverse`."""
    value = ranked(node, planner, planner.value(node.inputs[0]))
    axis = int(np.asarray(planner.integers(node, 1)).item()) % len(value.shape)
    options: dict[str, Any] = {key: bool(node.attributes.get(key, 0)) for key in ("exclusive", "reverse")}
    position = value.layout.position(axis)
    planner.emit(node, "cum_sum", (value,), value.layout, axis=position, **options)


PLANNERS: dict[str, OpPlanner] = {"ArgMax": plan_arg, "ArgMin": plan_arg, "CumSum": plan_cum_sum}
