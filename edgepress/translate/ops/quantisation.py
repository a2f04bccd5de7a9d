"""QuantizeLinear and DequantizeLinear pairs (QDQ), int8.

A pair on an activation becomes one fake quantisation with exactly its scale and zero point; on a constant
it is computed here, and the scale goes with the weight.
"""

import numpy as np

from edgepress.graph.formats import dequantise
from edgepress.translate.planner import Constant, Node, OpPlanner, Planner, unsupported


def plan_quantize(node: Node, planner: Planner) -> None:
    """The range that int8 codes −128..127 cover under this scale and zero point."""
    scale, zero = planner.constant(node, 1).values, planner.constant(node, 2).values
    if zero.dtype != np.int8 or scale.size != 1:
        raise unsupported(
            node, f"activations of type {zero.dtype} with {scale.size} scales; expected int8 and 1"
        )
    low, high = ((code - int(zero.item())) * float(scale.item()) for code in (-128, 127))
    value = planner.value(node.inputs[0])
    planner.emit(node, "fake_quant", (value,), value.layout, minimum=low, low=low, high=high)


def plan_dequantize(node: Node, planner: Planner) -> None:
    """Of an activation: nothing more. Of a constant: its float values, with the scale noted."""
    if node.inputs[0] not in planner.constants:
        planner.alias(node, planner.value(node.inputs[0]))
        return
    codes, scale = planner.constant(node, 0), planner.constant(node, 1).values
    zero = planner.constant(node, 2).values if node.has_input(2) else np.zeros((), np.int8)
    values = dequantise(codes.values, scale, zero, node.attributes.get("axis", 1))
    if codes.values.dtype == np.int8:
        dequantised = Constant(values, codes.initializer, scale, int(zero.reshape(-1)[0]))
    else:
        dequantised = Constant(values, codes.initializer)
    planner.constants[node.outputs[0]] = dequantised


PLANNERS: dict[str, OpPlanner] = {"QuantizeLinear": plan_quantize, "DequantizeLinear": plan_dequantize}
