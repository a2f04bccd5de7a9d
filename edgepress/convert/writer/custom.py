"""Custom operators: those that a file names, and that whoever runs it brings.

An operator has the name of the ONNX operator with its domain, such as `com.example.Fold` or
`ai.onnx.Unique`. Its operands and results are the node's, in their order, with axes in ONNX's order; one that
is left out is −1. Its options are a FlexBuffer of a map from the names of the node's attributes to numbers,
texts and vectors of either; a tensor is a map of `type` (numpy's name), `shape` and `data`, its bytes in C
order.
"""

from typing import Any

import numpy as np
from flatbuffers import flexbuffers
from onnx import numpy_helper

from edgepress.convert.writer.graph import Operator, Tensor
from edgepress.convert.writer.lowering import Lowering, Rule
from edgepress.translate.plan import Step


def _custom(low: Lowering, step: Step) -> list[Tensor]:
    a = step.attributes
    operands: list[Tensor | None] = list(low.numbers(step))
    for place in a["absent"]:
        operands.insert(place, None)
    made = [
        Tensor("", tuple(low.batch if size is None else size for size in shape), dtype)
        for shape, dtype in zip(a["shapes"], a["dtypes"], strict=True)
    ]
    options = {name: _plain(given) for name, given in sorted(a["options"].items())}
    operator = Operator("CUSTOM", operands, made, {}, [step.node], custom=a["custom_name"])
    operator.content = bytes(flexbuffers.Dumps(options))
    low.build.operators.append(operator)
    return made


def _plain(given: Any) -> Any:
    """An attribute as FlexBuffers have it."""
    if isinstance(given, bytes):
        return given.decode(errors="replace")
    if isinstance(given, list):
        return [_plain(each) for each in given]
    if isinstance(given, int | float | str):
        return given
    values = np.ascontiguousarray(numpy_helper.to_array(given))
    return {"type": values.dtype.name, "shape": list(values.shape), "data": values.tobytes()}


RULES = {"custom": Rule(_custom)}
