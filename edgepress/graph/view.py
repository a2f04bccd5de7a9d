"""Small read-only views of an ONNX graph that the passes here share."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from edgepress.graph.aside import put_aside, values_of

Array = npt.NDArray[Any]


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes as Python values (text as `str`)."""
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {key: v.decode() if isinstance(v, bytes) else v for key, v in values.items()}


class Initializers(Mapping[str, Array]):
    """Every initializer as an array; those of bfloat16 and the like keep onnx's numpy type.

    An array is made when it is asked for: a look at one scale need not copy all weights. `set` changes the
    model, too; initializers that are added or removed otherwise are not noticed.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._held = model.graph.initializer
        self._tensors = {tensor.name: tensor for tensor in self._held}

    def set(self, name: str, values: Array) -> None:
        """Give an initializer new values, or add it; its type and shape become those of `values`."""
        tensor = onnx.TensorProto(name=name)
        if not put_aside(tensor, values):
            tensor = numpy_helper.from_array(np.ascontiguousarray(values).reshape(values.shape), name)
        if name in self._tensors:
            self._tensors[name].CopyFrom(tensor)
        else:
            self._held.append(tensor)
            self._tensors[name] = self._held[-1]

    def __getitem__(self, name: str) -> Array:
        return values_of(self._tensors[name])

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def initializers(model: onnx.ModelProto) -> Initializers:
    """The initializers that the model has now, by name."""
    return Initializers(model)


def operands(node: onnx.NodeProto) -> list[str]:
    """The tensors that a node reads; those that graphs within it take from around them, too."""
    read = [name for name in node.input if name]
    for graph in nested_graphs(node):
        read += outer_names(graph)
    return read


def nested_graphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs in a node's attributes: branches, or the body of a loop."""
    found = []
    for attribute in node.attribute:
        if attribute.HasField("g"):
            found.append(attribute.g)
        found.extend(attribute.graphs)
    return found


def all_nodes(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph, or of a function, and of all graphs within it."""
    for node in graph.node:
        yield node
        for nested in nested_graphs(node):
            yield from all_nodes(nested)


def outer_names(graph: onnx.GraphProto) -> list[str]:
    """What a nested graph reads that is not made in it."""
    own = {entry.name for entry in (*graph.input, *graph.initializer)}
    own |= {sparse.values.name for sparse in graph.sparse_initializer}
    own |= {name for node in graph.node for name in node.output}
    read = [name for node in graph.node for name in operands(node)]
    read += [output.name for output in graph.output]
    return list(dict.fromkeys(name for name in read if name not in own))


def producers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """The node that makes each tensor."""
    return {output: node for node in model.graph.node for output in node.output}


def consumers(model: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    """The nodes that read each tensor."""
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        for name in operands(node):
            readers[name].append(node)
    return readers


def set_initializer(model: onnx.ModelProto, name: str, values: Array) -> None:
    """As `Initializers.set`, for one of them; it looks at the names of all."""
    initializers(model).set(name, values)


def remove_unused_initializers(model: onnx.ModelProto) -> None:
    """Drop initializers that no node reads and no output names."""
    used = {name for node in model.graph.node for name in operands(node)}
    keep_initializers(model, used | {output.name for output in model.graph.output})


def keep_initializers(model: onnx.ModelProto, names: set[str]) -> None:
    """Drop all initializers but these, without a copy of the weights that stay."""
    held = model.graph.initializer
    for i in reversed(range(len(held))):
        if held[i].name not in names:
            del held[i]


def needed_nodes(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Of nodes in topological order, those that the model's outputs depend on."""
    wanted = {output.name for output in model.graph.output}
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(operands(node))
            kept.append(node)
    return kept[::-1]


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


_AS_THEY_ARE = ("Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Dropout")


def last_operator(model: onnx.ModelProto) -> onnx.NodeProto | None:
    """The node that computes the first output, however that is shaped afterwards; None if there is none."""
    makers = {name: node for node in model.graph.node for name in node.output}
    node = makers.get(model.graph.output[0].name)
    while node is not None and node.op_type in _AS_THEY_ARE:
        node = makers.get(node.input[0])
    return node
