"""Why a transpose is in a `.tflite`: told in the names of tensors, most of which the converter keeps.

A transpose is called `asked_by/<operator>/<node>[/as/<Transpose node>]/so/transpose`. TensorFlow's converter
moves some past a neighbour, whose name they then have; so in a network with transposes all tensors tell their
node, as `made_by/<node>/so/...`.
"""

import re
from typing import NamedTuple

from edgepress.translate.plan import Step

_NAME = re.compile(r"(?:^|;|/)asked_by/(\w+)/([^;]+?)(?:/as/([^;]+?))?/so/")
_NEIGHBOUR = re.compile(r"(?:^|;|/)made_by/([^;]+?)/so/")
_FOREIGN = re.compile(r"[^A-Za-z0-9_./-]")

_WITHIN = {"einsum": "Einsum", "recurrent": "LSTM_or_GRU"}
"""Steps for which TensorFlow itself writes transposes, and the operators they stem from."""


class Origin(NamedTuple):
    """The ONNX node for which data moved, and the Transpose node that gave it its order ('' for none).

    Without an `operator`, the node is the one whose result is transposed.
    """

    operator: str
    node: str
    turned_by: str

    def __str__(self) -> str:
        if not self.operator:
            return f"{self.node}, whose result is read in another order"
        if self.turned_by:
            return f"Transpose {self.turned_by}, before {self.operator} {self.node}"
        if self.operator in ("Reshape", "Flatten", "Squeeze", "Unsqueeze"):
            return f"{self.operator} {self.node}, which splits or joins axes in ONNX's order"
        if self.operator == "output":
            return "an output, which has ONNX's order"
        return f"{self.operator} {self.node}, which takes its operand in this order"


def may_transpose(step: Step) -> bool:
    """Whether a transpose may come of the step."""
    return step.op == "transpose" or step.op in _WITHIN


def tells_node(step: Step) -> bool:
    """Whether tensors are to tell their nodes because of this step: of transposes, or joins in floats."""
    return may_transpose(step) or step.op == "times_minus_one"


def scope(step: Step) -> str:
    """The step's name scope in a network with transposes."""
    if step.op in _WITHIN:
        return _valid(f"asked_by/{_WITHIN[step.op]}/{step.node}/so/")
    if step.op != "transpose":
        return _valid(f"made_by/{step.node}/so/")
    asked_by, turned_by = (step.attributes[key] for key in ("asked_by", "turned_by"))
    turned = f"/as/{turned_by}" if turned_by else ""
    return _valid(f"asked_by/{asked_by}/{step.node}{turned}/so/")


def origin(tensor: str) -> Origin | None:
    """What the name of a transposed tensor says; None if no plan gave it."""
    if (found := _NAME.search(tensor)) is not None:
        return Origin(found[1], found[2], found[3] or "")
    neighbour = _NEIGHBOUR.search(tensor)
    return None if neighbour is None else Origin("", neighbour[1], "")


def _valid(name: str) -> str:
    """In TensorFlow's own set of characters."""
    return _FOREIGN.sub("_", name)
