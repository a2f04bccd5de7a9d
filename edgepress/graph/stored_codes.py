"""Weights that lie in a model in fewer bits than they are computed with, and how they are found there.

ONNX Runtime makes numbers of codes behind DequantizeLinear in each inference, unless the layer runs in
integers; that takes longer than the layer. What Cast and Mul make of constants it computes once, as it loads
the model. So weights alone in int8 lie behind a Cast and a Mul by their scales; and codes of 4 bits behind a
Cast to int8, so that the layer that reads them runs in int8.
"""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgepress.graph.view import Array, copy, initializers, producers, replace_nodes, set_initializer

_INTEGERS = (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4)
_FOUR_BITS = (TensorProto.INT4,)


def as_numbers(
    model: onnx.ModelProto, name: str, codes: Array, scales: Array, axis: int
) -> list[onnx.NodeProto]:
    """The nodes that make the tensor `name` of int8 codes with one scale for each element of an axis.

    The constants are added to the model.
    """
    shape = [1] * codes.ndim
    shape[axis] = -1
    set_initializer(model, f"{name}_quantized", codes)
    set_initializer(model, f"{name}_scale", scales.reshape(shape))
    return [
        helper.make_node(
            "Cast", [f"{name}_quantized"], [f"{name}_cast"], f"{name}_cast", to=TensorProto.FLOAT
        ),
        helper.make_node("Mul", [f"{name}_cast", f"{name}_scale"], [name], f"{name}_numbers"),
    ]


def in_four_bits(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    """The Cast that makes the int8 codes `name`, which are −8 to 7, of ones of 4 bits that replace them."""
    codes = initializers(model)[name]
    kept = [tensor for tensor in model.graph.initializer if tensor.name != name]
    stored = helper.make_tensor(f"{name}_int4", TensorProto.INT4, codes.shape, codes.reshape(-1).tolist())
    del model.graph.initializer[:]
    model.graph.initializer.extend([*kept, stored])
    return helper.make_node("Cast", [stored.name], [name], f"{name}_cast", to=TensorProto.INT8)


def stored_codes(model: onnx.ModelProto) -> set[str]:
    """The constants of up to 8 bits and at least two axes of which numbers, or wider codes, are made."""
    held = {t.name for t in model.graph.initializer if t.data_type in _INTEGERS and len(t.dims) > 1}
    reading = (node for node in model.graph.node if node.op_type in ("DequantizeLinear", "Cast"))
    return held.intersection(node.input[0] for node in reading)


def has_four_bits(model: onnx.ModelProto) -> bool:
    """Whether some of the weights have 4 bits."""
    stored = stored_codes(model)
    return any(t.name in stored for t in model.graph.initializer if t.data_type in _FOUR_BITS)


def with_dequantize(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which stored weights lie behind DequantizeLinear alone, in the bits they are stored in."""
    changed = copy(model)
    made, held = producers(changed), {tensor.name: tensor for tensor in changed.graph.initializer}
    casts = {
        name: node
        for name, node in made.items()
        if node.op_type == "Cast" and node.input[0] in held and held[node.input[0]].data_type in _INTEGERS
    }
    if casts:
        replace_nodes(changed, list(_dequantising(changed, casts)))
    return changed


def _dequantising(model: onnx.ModelProto, casts: dict[str, onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    constants = initializers(model)
    for node in model.graph.node:
        cast = casts.get(node.input[0]) if node.input else None
        if cast is not None and node.op_type == "DequantizeLinear":
            node.input[0] = cast.input[0]
            if len(node.input) > 2 and node.input[2] in constants and not constants[node.input[2]].any():
                del node.input[2:]  # of a type that the codes had behind the Cast
        elif cast is not None and node.op_type == "Mul" and node.input[1] in constants:
            scale = constants[node.input[1]]
            axis = _axis_of(scale, len(constants[cast.input[0]].shape))
            if axis is not None:
                set_initializer(model, f"{node.output[0]}.scale", scale.reshape(-1))
                operands = [cast.input[0], f"{node.output[0]}.scale"]
                yield helper.make_node("DequantizeLinear", operands, node.output, node.name, axis=axis)
                continue
        yield node


def _axis_of(scale: Array, rank: int) -> int | None:
    """The axis along which float32 scales lie; 0 where there is one scale, None where they fill several."""
    several = [axis - scale.ndim for axis, size in enumerate(scale.shape) if size > 1]
    if scale.dtype != np.float32 or len(several) > 1 or scale.ndim > rank:
        return None
    return several[0] % rank if several else 0
