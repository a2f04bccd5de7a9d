"""Kernels of layers that are computed in floats in any number format: they are stored in int8 all the same.

Recurrent layers have no integer kernels that both runtimes share. Of the codes of their kernels ONNX Runtime
makes numbers as it loads the model, and LiteRT before the first inference; so such a layer is as fast as in
float32, and a quarter as large. Transposed convolutions of volumes, and all transposed ones beside layers
that quantise what comes in as they run, have no integer kernels either. Of a table, such as an embedding, the
rows that are read are numbers again, where not all of the network runs in integers.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import onnx

from edgepress.compress.quantisation.kernel_codes import codes, largest_scales
from edgepress.graph.formats import INTEGERS, number_format
from edgepress.graph.stored_codes import as_numbers
from edgepress.graph.view import (
    attributes,
    consumers,
    copy,
    initializers,
    remove_unused_initializers,
    replace_nodes,
    set_initializer,
)

_RECURRENT = ("LSTM", "GRU", "RNN")
_VOLUME = 5
"""Axes of a kernel for volumes."""

_LEAST, _LEAST_OF_TABLE = 256, 1024
"""Fewer weights take less room as they are: a kernel needs an operator of its own, a table two."""


def float_kernels(model: onnx.ModelProto) -> list[str]:
    """The names of the constant kernels of such layers, in any number format, but for small ones."""
    held = {t.name: t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    sizes = {name: tuple(tensor.dims) for name, tensor in held.items()}
    form, found = number_format(model), dict[str, None]()
    for node in model.graph.node:
        names = node.input[1:3] if node.op_type in _RECURRENT else ()
        if node.op_type == "ConvTranspose" and (
            form == "dynamic" or len(sizes.get(node.input[1], ())) == _VOLUME
        ):
            names = node.input[1:2]
        found |= dict.fromkeys(name for name in names if np.prod(sizes.get(name, (0,))) >= _LEAST)
    return list(found)


def with_coded_kernels(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, whatever else of it has codes, with these kernels in codes, of a scale for each output.

    The directions of a recurrent layer share theirs.
    """
    found, tables = float_kernels(model), _tables(model)
    if not found and not tables:
        return model
    changed = copy(model)
    front = [node for name in found for node in _coded(changed, name)]
    nodes = [part for node in changed.graph.node for part in _of_numbers(changed, node, tables)]
    replace_nodes(changed, [*front, *nodes])
    kept = [tensor for tensor in changed.graph.initializer if tensor.name not in (*found, *tables)]
    del changed.graph.initializer[:]
    changed.graph.initializer.extend(kept)
    remove_unused_initializers(changed)
    return changed


def _coded(model: onnx.ModelProto, name: str) -> Iterator[onnx.NodeProto]:
    """The nodes that make the kernel of its codes, whose outputs lie along axis 1.

    A convolution's lie behind DequantizeLinear between pairs of codes: ONNX Runtime rounds a constant there.
    """
    values = initializers(model)[name]
    scales = largest_scales(values, 1)
    stored = codes(values, scales, 1)
    if values.ndim < _VOLUME or number_format(model) == "dynamic":
        yield from as_numbers(model, name, stored, scales, 1)
        return
    constants = {"quantized": stored, "scale": scales, "zero_point": np.zeros(scales.shape, np.int8)}
    for part, each in constants.items():
        set_initializer(model, f"{name}_{part}", each)
    operands = [f"{name}_{part}" for part in constants]
    yield onnx.helper.make_node("DequantizeLinear", operands, [name], f"{name}_DequantizeLinear", axis=1)


def _tables(model: onnx.ModelProto) -> list[str]:
    """The constants of two axes of which rows are gathered, and nothing else is read, but for small ones."""
    if number_format(model) in INTEGERS:
        return []
    held = (t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) == 2)
    readers, shown = consumers(model), {output.name for output in model.graph.output}
    found = [tensor.name for tensor in held if np.prod(tensor.dims) >= _LEAST_OF_TABLE]
    return [name for name in found if name not in shown and all(_gathers(n, name) for n in readers[name])]


def _gathers(node: onnx.NodeProto, table: str) -> bool:
    return node.op_type == "Gather" and node.input[0] == table and not attributes(node).get("axis", 0)


def _of_numbers(model: onnx.ModelProto, node: onnx.NodeProto, tables: Sequence[str]) -> list[onnx.NodeProto]:
    """A node, or one that gathers codes of a table and those that make numbers of them."""
    if node.op_type != "Gather" or node.input[0] not in tables:
        return [node]
    make, name, result = onnx.helper.make_node, node.input[0], node.output[0]
    values = initializers(model)[name]
    scales = largest_scales(values, 1)
    set_initializer(model, f"{name}_quantized", codes(values, scales, 1))
    set_initializer(model, f"{name}_scale", scales)
    node.input[0], node.output[0] = f"{name}_quantized", f"{result}.codes"
    return [
        node,
        make("Cast", [f"{result}.codes"], [f"{result}.cast"], f"{node.name}.cast", to=onnx.TensorProto.FLOAT),
        make("Mul", [f"{result}.cast", f"{name}_scale"], [result], f"{node.name}.numbers"),
    ]
