"""QuantizeLinear and DequantizeLinear.

A pair of int8 on an activation becomes one fake quantisation with exactly its scale and zero point; on a
constant it is computed here, and the scale goes with the weight. Either of the two alone is arithmetic.
"""

from typing import Any

import numpy as np

from edgepress.graph.formats import dequantise
from edgepress.translate.ops.broadcast import ranked
from edgepress.translate.plan import Array, Weight
from edgepress.translate.planner import Constant, Node, OpPlanner, Planner, Value, unsupported

_CODES = ("int8", "uint8", "int16", "uint16")


def plan_quantize(node: Node, planner: Planner) -> None:
    """The range that the codes cover under this scale and zero point."""
    scale = planner.constant(node, 1).values
    zero = planner.constant(node, 2).values if node.has_input(2) else np.zeros(scale.shape, np.uint8)
    if not _paired(node, planner):
        _plan_codes(node, planner, scale, zero)
        return
    if zero.dtype not in (np.int8, np.uint8) or scale.size != 1:
        raise unsupported(
            node, f"activations of type {zero.dtype} with {scale.size} scales; expected int8 or uint8 and 1"
        )
    limits = np.iinfo(zero.dtype)
    low, high = ((code - int(zero.item())) * float(scale.item()) for code in (limits.min, limits.max))
    value = planner.value(node.inputs[0])
    planner.emit(node, "fake_quant", (value,), value.layout, minimum=low, low=low, high=high)


def _paired(node: Node, planner: Planner) -> bool:
    """Whether every reader dequantises the codes again."""
    name = node.outputs[0]
    readers = planner.readers[name]
    return name not in planner.outputs and all(reader.op_type == "DequantizeLinear" for reader in readers)


def _plan_codes(node: Node, planner: Planner, scale: Array, zero: Array) -> None:
    value = ranked(node, planner, planner.value(node.inputs[0]))
    dtype = np.dtype(planner.dtype(node.outputs[0])).name
    if dtype not in _CODES or np.dtype(planner.dtype(node.inputs[0])) != np.float32:
        raise unsupported(node, f"it makes {dtype} of {planner.dtype(node.inputs[0])}; expected {_CODES}")
    limits = np.iinfo(dtype)
    weights = _parameters(node, planner, value, scale, zero)
    options: dict[str, Any] = {"low": float(limits.min), "high": float(limits.max), "dtype": dtype}
    planner.emit(node, "quantised", (value,), value.layout, weights, **options)


def plan_dequantize(node: Node, planner: Planner) -> None:
    """Of an activation: nothing more. Of a constant: its float values, with the scale noted."""
    if node.inputs[0] not in planner.constants:
        _plan_activation(node, planner)
        return
    codes, scale = planner.constant(node, 0), planner.constant(node, 1).values
    zero = planner.constant(node, 2).values if node.has_input(2) else np.zeros((), np.int8)
    values = dequantise(codes.values, scale, zero, node.attributes.get("axis", 1))
    if codes.values.dtype in (np.int8, np.uint8):
        signed = int(zero.reshape(-1)[0]) - np.iinfo(codes.values.dtype).min - 128
        dequantised = Constant(values, codes.initializer, scale, signed)
    else:
        dequantised = Constant(values, codes.initializer)
    planner.constants[node.outputs[0]] = dequantised


def _plan_activation(node: Node, planner: Planner) -> None:
    value = planner.value(node.inputs[0])
    if np.dtype(planner.dtype(node.inputs[0])).kind == "f" or _fake(node, planner):
        planner.alias(node, value)
        return
    scale = planner.constant(node, 1).values
    dtype = np.dtype(planner.dtype(node.inputs[0])).name
    if dtype not in (*_CODES, "int32") or scale.dtype != np.float32:
        raise unsupported(node, f"it makes {scale.dtype} of {dtype}; expected float32 of {_CODES}")
    zero = planner.constant(node, 2).values if node.has_input(2) else np.zeros(scale.shape, np.int8)
    value = ranked(node, planner, value)
    planner.emit(node, "dequantised", (value,), value.layout, _parameters(node, planner, value, scale, zero))


def _fake(node: Node, planner: Planner) -> bool:
    """Whether the operand is a fake quantisation, which is in floats already."""
    name = planner.values[node.inputs[0]].name
    return any(step.output == name and step.op == "fake_quant" for step in reversed(planner.steps))


def _parameters(node: Node, planner: Planner, value: Value, scale: Array, zero: Array) -> dict[str, Weight]:
    """Scale and zero point as float operands, along `axis` where there are several."""
    if node.attributes.get("block_size", 0) or scale.ndim > 1:
        raise unsupported(node, "it is quantised in blocks; expected one scale, or one for each channel")
    shape = [1] * len(value.shape)
    if scale.size > 1:
        shape[node.attributes.get("axis", 1)] = -1
    parts = {"scale": scale, "zero": np.broadcast_to(zero, scale.shape)}
    return {
        name: planner.operand_weight(Constant(values.astype(np.float32).reshape(shape)), value)
        for name, values in parts.items()
    }


PLANNERS: dict[str, OpPlanner] = {"QuantizeLinear": plan_quantize, "DequantizeLinear": plan_dequantize}
