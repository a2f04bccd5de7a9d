"""QuantizeLinear and DequantizeLinear.

A pair of int8 on an activation, or of int16 with zero point 0, becomes one fake quantisation with exactly its
scale and zero point; on a constant it is computed here, and the scale goes with the weight. Either of the two
alone is arithmetic.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from edgepress.graph.codes import dequantise, quantise
from edgepress.translate.ops.broadcast import ranked
from edgepress.translate.plan import Array, Quantisation, Weight
from edgepress.translate.planner import Constant, Node, OpPlanner, Planner, Value, unsupported

_CODES = ("int8", "uint8", "int16", "uint16")
_BYTES, _WORDS = ("int8", "uint8"), ("int16", "uint16")


def plan_quantize(node: Node, planner: Planner) -> None:
    """The range that the codes cover under this scale and zero point.

    TFLite's codes of 16 bits are signed, with zero point 0. Where others are dequantised again, the values
    stay floats, clipped to that range, at most half a step of 1/65535 of it beside the rounded ones.
    """
    scale, dtype = planner.constant(node, 1).values, np.dtype(planner.dtype(node.outputs[0]))
    zero = planner.constant(node, 2).values if node.has_input(2) else np.zeros(scale.shape, dtype)
    if node.inputs[0] in planner.constants:
        known, (axis, block) = planner.constants[node.inputs[0]], _along(node)
        codes = quantise(known.values, scale, zero.astype(dtype), axis, block)
        planner.constants[node.outputs[0]] = Constant(codes, known.initializer)
        return
    if not _paired(node, planner):
        _plan_codes(node, planner, scale, zero)
        return
    if dtype.name not in (*_BYTES, *_WORDS) or scale.size != 1:
        raise unsupported(
            node, f"activations of type {dtype} with {scale.size} scales; expected one of {_CODES} and 1"
        )
    limits, value = np.iinfo(dtype), planner.value(node.inputs[0])
    low, high = ((code - int(zero.item())) * float(scale.item()) for code in (limits.min, limits.max))
    coded = dtype.name in _BYTES or (dtype.name == "int16" and not zero.item())
    op = "fake_quant" if coded else "clip"
    planner.float_codes.add(node.outputs[0])
    options: dict[str, Any] = {"low": low, "high": high}
    if coded:
        shift = 128 if dtype.name == "uint8" else 0
        options |= {"scale": float(scale.item()), "zero_point": int(zero.item()) - shift}
        options["dtype"] = "int16" if dtype.name == "int16" else "int8"
    planner.emit(node, op, (value,), value.layout, minimum=low, **options)


def _along(node: Node) -> tuple[int, int]:
    """The axis of several scales, and how many of its elements share one (0: each has its own)."""
    return node.attributes.get("axis", 1), node.attributes.get("block_size", 0)


def _paired(node: Node, planner: Planner) -> bool:
    """Whether every reader dequantises the codes again, as they were quantised."""
    name = node.outputs[0]
    readers = planner.readers[name]
    return name not in planner.outputs and all(
        reader.op_type == "DequantizeLinear" and _alike(node, reader, planner) for reader in readers
    )


def _alike(node: Node, reader: onnx.NodeProto, planner: Planner) -> bool:
    """Whether scale and zero point of a reader are those of the node."""
    own, other = (_numbers(inputs, planner) for inputs in (node.inputs, reader.input))
    return own is not None and other is not None and all(map(np.array_equal, own, other))


def _numbers(inputs: Sequence[str], planner: Planner) -> list[Array] | None:
    if any(name and name not in planner.constants for name in inputs[1:]):
        return None
    scale, *zeros = (planner.constants[name].values for name in inputs[1:] if name)
    return [scale.reshape(-1), zeros[0].reshape(-1) if zeros else np.zeros(scale.size)]


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
    zero = planner.constant(node, 2).values if node.has_input(2) else np.zeros((), codes.values.dtype)
    axis, block = _along(node)
    values = dequantise(codes.values, scale, zero, axis, block)
    known = _quantisation(codes.values, scale, zero) if scale.ndim < 2 and not block else None
    planner.constants[node.outputs[0]] = Constant(values, codes.initializer, known, axis)


def _quantisation(codes: Array, scale: Array, zero: Array) -> Quantisation | None:
    """As TFLite has it: unsigned codes less 128. None where it has none."""
    scales = scale.reshape(-1).astype(np.float32)
    zeros = np.broadcast_to(zero.reshape(-1), scales.shape).astype(np.int64)
    if codes.dtype == np.int32:
        return Quantisation(scales, zeros, "int32", codes.reshape(-1)) if not zeros.any() else None
    if codes.dtype == np.int16:
        return None if zeros.any() else Quantisation(scales, zeros, "int16")
    if codes.dtype.itemsize > 1:
        return None
    if codes.dtype.name == "int4":
        return Quantisation(scales, zeros, "int4")
    return Quantisation(scales, zeros - 128 if codes.dtype == np.uint8 else zeros)


def _plan_activation(node: Node, planner: Planner) -> None:
    value = planner.value(node.inputs[0])
    if np.dtype(planner.dtype(node.inputs[0])).kind == "f" or _in_floats(node, planner):
        planner.alias(node, value)
        return
    scale = planner.constant(node, 1).values
    dtype = np.dtype(planner.dtype(node.inputs[0])).name
    if dtype not in (*_CODES, "int32") or scale.dtype != np.float32:
        raise unsupported(node, f"it makes {scale.dtype} of {dtype}; expected float32 of {_CODES}")
    zero = planner.constant(node, 2).values if node.has_input(2) else np.zeros(scale.shape, np.int8)
    value = ranked(node, planner, value)
    planner.emit(node, "dequantised", (value,), value.layout, _parameters(node, planner, value, scale, zero))


def _in_floats(node: Node, planner: Planner) -> bool:
    """Whether the operand stands for codes but is in floats: rounded to them, or clipped to their range."""
    return planner.values[node.inputs[0]].name in planner.float_codes


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
