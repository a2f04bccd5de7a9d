"""BatchNormalization."""

from edgepress.translate.layout import flattened_rows
from edgepress.translate.plan import Weight
from edgepress.translate.planner import Node, OpPlanner, Planner, unsupported

_PARTS = ("gamma", "beta", "mean", "variance")


def plan_batchnorm(node: Node, planner: Planner) -> None:
    """Inference form; the channel must be the last stored axis."""
    if node.attributes.get("training_mode", 0):
        raise unsupported(node, "it is in training mode; export the network in evaluation mode")
    value = planner.value(node.inputs[0])
    if value.layout.position(1) != len(value.shape) - 1:
        raise unsupported(node, "its channels are not the last stored axis")
    rows = flattened_rows(value.layout.flattened) if value.layout.flattened else None
    weights = {}
    for index, part in enumerate(_PARTS, start=1):
        constant = planner.constant(node, index)
        values = constant.values if rows is None else constant.values[rows]
        weights[part] = Weight(values, constant.initializer, (0,), rows, constant.values.shape)
    epsilon = node.attributes.get("epsilon", 1e-5)
    planner.emit(node, "batch_norm", (value,), value.layout, weights, epsilon=epsilon)


PLANNERS: dict[str, OpPlanner] = {"BatchNormalization": plan_batchnorm}
