"""Operands of steps in types that TFLite computes with."""

import numpy as np

from edgepress.convert.writer.builder import Builder, Operand
from edgepress.convert.writer.graph import Tensor
from edgepress.convert.writer.lowering import Lowering
from edgepress.translate.plan import Step

_WORDS = {"int8": "int32", "uint8": "int32", "int16": "int32", "uint16": "int32", "uint32": "int64"}
"""Types that TFLite computes with only quantised, or not at all, and one that holds their numbers."""


def pair(low: Lowering, step: Step) -> tuple[Operand, Operand]:
    """Both operands in numbers; a constant one is an array."""
    if "operand" not in step.weights:
        return low.number(step.inputs[0]), low.number(step.inputs[1])
    value, constant = low.number(step.inputs[0]), step.weights["operand"].values
    return (constant, value) if step.attributes["constant_first"] else (value, constant)


def in_words(build: Builder, operands: tuple[Operand, ...]) -> tuple[str, tuple[Operand, ...]]:
    """Operands of few bits that are no codes, or without a sign, in wider types; and their type, or ''."""
    small = next((x.dtype for x in operands if isinstance(x, Tensor) and x.dtype in _WORDS), "")
    if not small:
        return "", operands
    wide = _WORDS[small]
    return small, tuple(
        build.cast(x, wide) if isinstance(x, Tensor) else np.asarray(x, wide) for x in operands
    )
