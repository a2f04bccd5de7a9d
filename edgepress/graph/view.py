"""Small read-only views of an ONNX graph that the passes here share."""

from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

Array = npt.NDArray[Any]


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes as Python values (text as `str`)."""
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {key: v.decode() if isinstance(v, bytes) else v for key, v in values.items()}


def initializers(model: onnx.ModelProto) -> dict[str, Array]:
    """Every initializer as an array; those of bfloat16 and the like keep onnx's numpy type."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def producers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """The node that makes each tensor."""
    return {output: node for node in model.graph.node for output in node.output}


def consumers(model: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    """The nodes that read each tensor."""
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            readers[name].append(node)
    return readers


def set_initializer(model: onnx.ModelProto, name: str, values: Array) -> None:
    """Give an initializer new values, or add it; its type and shape become those of `values`."""
    tensor = numpy_helper.from_array(np.ascontiguousarray(values).reshape(values.shape), name)
    for present in model.graph.initializer:
        if present.name == name:
            present.CopyFrom(tensor)
            return
    model.graph.initializer.append(tensor)


def remove_unused_initializers(model: onnx.ModelProto) -> None:
    """Drop initializers that no node reads and no output names."""
    used = {name for node in model.graph.node for name in node.input}
    used |= {output.name for output in model.graph.output}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def replace_nodes(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    """Give the graph these nodes, in topological order, in place of its own."""
    fresh = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(fresh)


def copy(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model that shares nothing with `model`."""
    duplicate = onnx.ModelProto()
    duplicate.CopyFrom(model)
    return duplicate
