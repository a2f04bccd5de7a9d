"""Reductions over any axes."""

from edgepress.translate.ops.broadcast import ranked
from edgepress.translate.planner import Node, OpPlanner, Planner, unsupported

_REDUCTIONS = {
    "ReduceMean": "mean",
    "ReduceSum": "sum",
    "ReduceMax": "maximum",
    "ReduceMin": "minimum",
    "ReduceProd": "product",
    "ReduceL1": "l1",
    "ReduceL2": "l2",
    "ReduceSumSquare": "sum_square",
    "ReduceLogSum": "log_sum",
    "ReduceLogSumExp": "log_sum_exp",
}
_SIMPLE = ("mean", "sum", "maximum", "minimum", "product")
_KEEP_MINIMUM = ("mean", "maximum", "minimum")


def plan_reduction(node: Node, planner: Planner) -> None:
    """Axes are an attribute in old opsets and an input in new ones; without `keepdims`, ranks shrink."""
    op, value = _REDUCTIONS[node.op], ranked(node, planner, planner.value(node.inputs[0]))
    axes = planner.integers(node, 1) if node.has_input(1) else list(node.attributes.get("axes", []))
    idle = not axes and bool(node.attributes.get("noop_with_empty_axes", 0))
    if idle and op not in _SIMPLE:
        raise unsupported(node, "it has no axes to reduce and noop_with_empty_axes")
    if not axes and not idle:
        axes = list(range(len(value.shape)))
    keep = bool(node.attributes.get("keepdims", 1))
    stored = tuple(sorted(value.layout.position(axis) for axis in axes))
    layout = value.layout
    if not keep:
        left = [axis for axis in layout.order if layout.position(axis) not in stored]
        layout = type(layout)(tuple(sorted(left).index(axis) for axis in left))
    minimum = value.minimum if op in _KEEP_MINIMUM else None
    planner.emit(node, op, (value,), layout, minimum=minimum, axes=stored, keepdims=keep)


PLANNERS: dict[str, OpPlanner] = dict.fromkeys(_REDUCTIONS, plan_reduction)
