"""LSTM and GRU over sequences of fixed length, written out step by step."""

from typing import Any

import numpy as np

from edgepress.translate.layout import plain
from edgepress.translate.plan import Array, Weight
from edgepress.translate.planner import Node, OpPlanner, Planner, unsupported

_DEFAULTS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}
_WEIGHTS = {1: "input", 2: "state", 3: "bias", 5: "first", 6: "first_cell", 7: "peepholes"}
_LONGEST = 1024


def plan_recurrent(node: Node, planner: Planner) -> None:
    """One step for each output that is read: all states, the last state, the last cell."""
    value = planner.value(node.inputs[0])
    value = planner.stored_as(node, value, plain(3))
    batch_first = bool(node.attributes.get("layout", 0))
    length = value.shape[1 if batch_first else 0]
    _refuse(node, planner, length)
    weights = {
        part: Weight(planner.constant(node, index).values)
        for index, part in _WEIGHTS.items()
        if node.has_input(index)
    }
    options: dict[str, Any] = {
        "cell": node.op,
        "direction": node.attributes.get("direction", "forward"),
        "batch_first": batch_first,
        "linear_before_reset": bool(node.attributes.get("linear_before_reset", 0)),
    }
    for index, part in enumerate(("all", "last", "cell")):
        if len(node.outputs) > index and node.outputs[index]:
            rank = len(planner.shape(node.outputs[index]))
            planner.emit(node, "recurrent", (value,), plain(rank), weights, index=index, part=part, **options)


def _refuse(node: Node, planner: Planner, length: int | None) -> None:
    a = node.attributes
    ways = 2 if a.get("direction") == "bidirectional" else 1
    wanted = _DEFAULTS[node.op] * ways
    given = [name.decode() if isinstance(name, bytes) else name for name in a.get("activations", wanted)]
    if given != wanted or a.get("activation_alpha") or a.get("activation_beta"):
        raise unsupported(node, f"its activations are {given}; expected {wanted}")
    for option in ("clip", "input_forget"):
        if a.get(option):
            raise unsupported(node, f"{option} {a[option]} has no translation")
    if length is None or length > _LONGEST:
        raise unsupported(node, f"its sequence has length {length}; expected a fixed one up to {_LONGEST}")
    if node.has_input(4) and not _is_whole(planner.constant(node, 4).values, length):
        raise unsupported(node, "its sequences end at different lengths")


def _is_whole(lengths: Array, length: int) -> bool:
    return bool(np.all(lengths == length))


PLANNERS: dict[str, OpPlanner] = {"LSTM": plan_recurrent, "GRU": plan_recurrent}
