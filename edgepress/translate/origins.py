"""Why a transpose is in a `.tflite`: told in the name of the tensor that it makes.

That is called `<node>;for <operator>[;by <Transpose node>]`, by the ONNX node for which data moved.
"""

import re
from typing import NamedTuple

from edgepress.translate.plan import Step

_NAME = re.compile(r"(.*?);for ([^;\s]+)(?:;by (.*?))?(?:;\.\w+)?", re.DOTALL)


class Origin(NamedTuple):
    """The ONNX node for which data moved, and the Transpose node that gave it its order ('' for none)."""

    operator: str
    node: str
    turned_by: str

    def __str__(self) -> str:
        if self.turned_by:
            return f"Transpose {self.turned_by}, before {self.operator} {self.node}"
        if self.operator in ("Reshape", "Flatten", "Squeeze", "Unsqueeze"):
            return f"{self.operator} {self.node}, which splits or joins axes in ONNX's order"
        if self.operator == "output":
            return "an output, which has ONNX's order"
        return f"{self.operator} {self.node}, which takes its operand in this order"


def transpose_note(step: Step) -> str:
    """What the name of a transpose's tensor tells beside the node."""
    asked_by, turned_by = (step.attributes[key] for key in ("asked_by", "turned_by"))
    return f"for {asked_by}" + (f";by {turned_by}" if turned_by else "")


def origin(name: str) -> Origin | None:
    """What the name of a transposed tensor, or of its operator's nodes, says; None if no plan gave it."""
    found = _NAME.fullmatch(name)
    return None if found is None else Origin(found[2], found[1], found[3] or "")
