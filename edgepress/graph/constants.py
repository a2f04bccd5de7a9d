"""Folding: what a graph computes from constants alone is computed once, here.

Constant nodes become initializers, subgraphs of constants are evaluated, the shapes of tensors whose
sizes are known are constants too, and what nobody reads any more is dropped. QuantizeLinear and
DequantizeLinear stay, since their scales say how the network is quantised.
"""

from collections import ChainMap
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any

import numpy as np
import onnx

from edgepress.graph.shapes import inferred_infos
from edgepress.graph.view import (
    Array,
    attributes,
    copy,
    initializers,
    needed_nodes,
    replace_nodes,
)

MOST_ELEMENTS = 1 << 24
"""A folded tensor may have so many elements; a larger one stays computed."""

Shapes = Callable[[], dict[str, tuple[int | None, ...]]]
"""The inferred shape of each tensor, found when it is asked for."""

_STAY = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Dropout", "Bernoulli", "Multinomial")
_WRITTEN_OUT = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


def fold_constants(model: onnx.ModelProto, stay: Collection[str] = ()) -> None:
    """Fold in place: the model then computes the same, and no node has constant operands alone.

    What makes one of the tensors `stay` is left, though it may be constant.
    """
    _lift_constants(model)
    found: dict[str, Array] = {}
    known = ChainMap(found, initializers(model))  # type: ignore[arg-type] # only the first is written to
    shapes = cache(lambda: _shapes(model))
    kept: list[onnx.NodeProto] = []
    for node in model.graph.node:
        values = None if node.output[0] in stay else _value(model, node, known, shapes)
        if values is None:
            kept.append(node)
        else:
            found.update(zip(filter(None, node.output), values, strict=True))
    _fix_shapes(model, kept, known, shapes)
    held = initializers(model)
    for name, value in found.items():
        held.set(name, value)
    replace_nodes(model, needed_nodes(model, kept))


def constants_as_initializers(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose Constant nodes are initializers; sparse and text constants stay nodes."""
    changed = copy(model)
    _lift_constants(changed)
    return changed


def _lift_constants(model: onnx.ModelProto) -> None:
    kept, held = [], initializers(model)
    for node in model.graph.node:
        value = _constant(node) if node.op_type == "Constant" else None
        if value is None:
            kept.append(node)
        else:
            held.set(node.output[0], value)
    if len(kept) < len(model.graph.node):
        replace_nodes(model, kept)


def _constant(node: onnx.NodeProto) -> Array | None:
    given = attributes(node)
    if "value" in given:
        return np.asarray(onnx.numpy_helper.to_array(given["value"]))
    for key, dtype in _WRITTEN_OUT.items():
        if key in given:
            return np.array(given[key], dtype)
    return None


def _value(
    model: onnx.ModelProto, node: onnx.NodeProto, known: Mapping[str, Array], shapes: Shapes
) -> list[Array] | None:
    """The node's outputs, or None where they are not constant."""
    if node.op_type in ("Shape", "Size") and node.input[0] not in known:
        sizes = shapes().get(node.input[0])
        return None if sizes is None or None in sizes else [_measured(node, sizes)]
    operands = [name for name in node.input if name]
    if not operands or any(name not in known for name in operands):
        return None
    if node.op_type in _STAY or node.domain not in ("", "ai.onnx") or _has_graph(node):
        return None
    if any(_elements(shapes().get(name)) > MOST_ELEMENTS for name in node.output):
        return None
    return _evaluated(model, node, known)


def _measured(node: onnx.NodeProto, sizes: tuple[Any, ...]) -> Array:
    given = attributes(node)
    if node.op_type == "Size":
        return np.array(np.prod(sizes, dtype=np.int64))
    return np.array(sizes[given.get("start", 0) : given.get("end", len(sizes))], np.int64)


def _evaluated(
    model: onnx.ModelProto, node: onnx.NodeProto, known: Mapping[str, Array]
) -> list[Array] | None:
    from onnx.reference import ReferenceEvaluator

    names = {name for name in node.input if name}
    infos = [_info(name, known[name]) for name in names]
    results = [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name]
    graph = onnx.helper.make_graph([node], "constant", infos, results)
    small = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    try:
        values = ReferenceEvaluator(small).run(None, {name: known[name] for name in names})
    except Exception:  # the reference knows no such node, or refuses it: it stays for the planner to judge
        return None
    return [np.asarray(value) for value in values]


def _info(name: str, values: Array) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(
        name, onnx.helper.np_dtype_to_tensor_dtype(values.dtype), values.shape
    )


def _has_graph(node: onnx.NodeProto) -> bool:
    return any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute)


def _elements(sizes: tuple[int | None, ...] | None) -> int:
    return int(np.prod([size or 1 for size in sizes or ()], dtype=np.int64))


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int | None, ...]]:
    return {
        name: tuple(d.dim_value if d.HasField("dim_value") else None for d in info.type.tensor_type.shape.dim)
        for name, info in inferred_infos(model).items()
        if info.type.tensor_type.HasField("shape")
    }


def _fix_shapes(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], known: Mapping[str, Array], shapes: Shapes
) -> None:
    """A Reshape to a computed shape takes the inferred one, where at most one size of it is open."""
    held = initializers(model)
    for node in nodes:
        if node.op_type != "Reshape" or len(node.input) < 2 or node.input[1] in known:
            continue
        sizes = shapes().get(node.output[0])
        if sizes is None or sum(size is None for size in sizes) > 1 or 0 in sizes:
            continue
        node.input[1] = f"{node.output[0]}.shape"
        held.set(node.input[1], np.array([-1 if s is None else s for s in sizes], np.int64))
