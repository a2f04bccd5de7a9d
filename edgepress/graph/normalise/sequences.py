"""Sequences of tensors written out as these tensors: PyTorch leaves some where it does not optimise."""

from collections.abc import Callable, Iterator

import numpy as np
import onnx
from onnx import helper

from edgepress.graph.normalise.inlining import GraphWriter
from edgepress.graph.normalise.native import inferred
from edgepress.graph.renaming import names_of
from edgepress.graph.view import attributes, initializers, needed_nodes, replace_nodes

_OPERATORS = {
    "SplitToSequence", "SequenceConstruct", "SequenceEmpty", "SequenceInsert", "SequenceErase",
    "SequenceAt", "SequenceLength", "SequenceMap", "ConcatFromSequence",
}  # fmt: skip


def write_out_sequences(model: onnx.ModelProto) -> None:
    """Let the readers of each sequence of known tensors read these, in place.

    A sequence whose length, or a place in which, is computed stays as it is, as does one that goes into a
    branch or a loop.
    """
    if not holds_sequences(model):
        return
    written, nodes = _Written(model), list[onnx.NodeProto]()
    for node in model.graph.node:
        added = written.of(node)
        nodes += [node] if added is None else added
    replace_nodes(model, needed_nodes(model, nodes))


def holds_sequences(model: onnx.ModelProto) -> bool:
    """Whether an operator of sequences is in the graph itself."""
    return any(node.op_type in _OPERATORS for node in model.graph.node)


class _Written:
    """The tensors of each sequence that is known."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._constants = initializers(model)
        self._infos = inferred(model)
        self._model, self._taken = model, names_of(model.graph)
        self._held: dict[str, list[str]] = {}
        self._rules: dict[str, Callable[[onnx.NodeProto], list[onnx.NodeProto] | None]] = {
            "SplitToSequence": self._split,
            "ConcatFromSequence": self._joined,
            "SequenceAt": self._at,
            "SequenceLength": self._length,
            "SequenceMap": self._mapped,
        }

    def of(self, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        """What takes the node's place; the node itself stays before what makes the tensors of its sequence.

        It is dropped if all that read the sequence are written out. None where the node stays as it is.
        """
        if node.op_type in self._rules:
            return self._rules[node.op_type](node)
        if (tensors := self._rearranged(node)) is not None:
            self._held[node.output[0]] = tensors
        return None

    def _rearranged(self, node: onnx.NodeProto) -> list[str] | None:
        """The tensors of a sequence made of tensors, or of another sequence."""
        if node.op_type == "SequenceEmpty":
            return []
        if node.op_type == "SequenceConstruct":
            return list(node.input)
        if not node.input or node.input[0] not in self._held:
            return None
        tensors = list(self._held[node.input[0]])
        if node.op_type == "Identity":
            return tensors
        if node.op_type == "SequenceInsert":
            place = self._place(node, 2, len(tensors))
            if place is None or not -len(tensors) <= place <= len(tensors):
                return None
            tensors.insert(place, node.input[1])
            return tensors
        place = self._place(node, 1, -1) if node.op_type == "SequenceErase" else None
        if place is None or not -len(tensors) <= place < len(tensors):
            return None
        del tensors[place]
        return tensors

    def _place(self, node: onnx.NodeProto, index: int, absent: int) -> int | None:
        if len(node.input) <= index or not node.input[index]:
            return absent
        constant = self._constants.get(node.input[index])
        return None if constant is None else int(constant.item())

    def _split(self, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        sizes = self._sizes(node)
        if sizes is None:
            return None
        given, output = attributes(node), self._stem(node.output[0], len(sizes))
        parts = [f"{output}.{i}" for i in range(len(sizes))]
        self._held[node.output[0]] = parts
        squeezed = len(node.input) < 2 and not given.get("keepdims", 1)
        made = [f"{part}.row" for part in parts] if squeezed else parts
        self._constants.set(f"{output}.sizes", np.array(sizes, np.int64))
        axis = given.get("axis", 0)
        nodes = [
            node,
            helper.make_node("Split", [node.input[0], f"{output}.sizes"], made, f"{output}.split", axis=axis),
        ]
        if squeezed:
            self._constants.set(f"{output}.axis", np.array([axis]))
            nodes += [
                helper.make_node("Squeeze", [row, f"{output}.axis"], [part], part)
                for row, part in zip(made, parts, strict=True)
            ]
        return nodes

    def _stem(self, name: str, parts: int) -> str:
        """What the names of the parts begin with: another one if the parts are there already."""
        while any(f"{name}.{i}" in self._taken for i in range(parts)):
            name += "_"
        return name

    def _sizes(self, node: onnx.NodeProto) -> list[int] | None:
        """Those of the parts along the axis; None where they are computed, or follow from what is open."""
        by = self._constants.get(node.input[1]) if len(node.input) > 1 and node.input[1] else np.array(1)
        if by is None or by.ndim:
            return None if by is None else [int(size) for size in by]
        size, each = self._size(node.input[0], attributes(node).get("axis", 0)), int(by.item())
        if size is None or each < 1:
            return None
        return [min(each, size - start) for start in range(0, size, each)]

    def _size(self, name: str, axis: int) -> int | None:
        info = self._infos.get(name)
        if info is None or not info.type.tensor_type.HasField("shape"):
            return None
        dims = info.type.tensor_type.shape.dim
        dim = dims[axis] if -len(dims) <= axis < len(dims) else None
        return dim.dim_value if dim is not None and dim.HasField("dim_value") else None

    def _at(self, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        tensors, place = self._held.get(node.input[0]), self._place(node, 1, 0)
        if tensors is None or place is None or not -len(tensors) <= place < len(tensors):
            return None
        return [helper.make_node("Identity", [tensors[place]], node.output, node.name)]

    def _length(self, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        tensors = self._held.get(node.input[0])
        if tensors is None:
            return None
        self._constants.set(f"{node.output[0]}.length", np.array(len(tensors)))
        return [helper.make_node("Identity", [f"{node.output[0]}.length"], node.output, node.name)]

    def _mapped(self, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        """The body for each tensor of the sequences, with all of those that are none."""
        sequences = {name: self._held[name] for name in node.input if name in self._held}
        lengths = {len(tensors) for tensors in sequences.values()}
        if not node.input or node.input[0] not in sequences or len(lengths) != 1:
            return None
        body = attributes(node)["body"]
        if (len(body.input), len(body.output)) != (len(node.input), len(node.output)):
            return None
        writer, nodes = GraphWriter(self._model, body, node, self._taken), [node]
        made: list[list[str]] = [[] for _ in node.output]
        for number in range(lengths.pop()):
            read = [sequences[name][number] if name in sequences else name for name in node.input]
            inputs = (entry.name for entry in body.input)
            nodes += writer.round(dict(zip(inputs, read, strict=True)), f".{number}")
            for tensors, end in zip(made, writer.ends, strict=True):
                tensors.append(end)
        self._held.update(zip(node.output, made, strict=True))
        return nodes

    def _joined(self, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        tensors, given = self._held.get(node.input[0]), attributes(node)
        if not tensors:
            return None
        if not given.get("new_axis", 0):
            return [helper.make_node("Concat", tensors, node.output, node.name, axis=given["axis"])]
        return list(self._stacked(node, tensors, given["axis"]))

    def _stacked(self, node: onnx.NodeProto, tensors: list[str], axis: int) -> Iterator[onnx.NodeProto]:
        output = node.output[0]
        self._constants.set(f"{output}.axis", np.array([axis]))
        rows = [f"{output}.{i}" for i in range(len(tensors))]
        for tensor, row in zip(tensors, rows, strict=True):
            yield helper.make_node("Unsqueeze", [tensor, f"{output}.axis"], [row], row)
        yield helper.make_node("Concat", rows, node.output, node.name, axis=axis)
