"""Control flow of a known course, written out: a branch that is always taken, and short loops."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
from onnx import helper

from edgepress.graph.aside import values_of
from edgepress.graph.normalise.folding import fold_constants
from edgepress.graph.normalise.inlining import GraphWriter, fresh_name
from edgepress.graph.renaming import names_of
from edgepress.graph.rounds import goes_on, rounds_of
from edgepress.graph.view import attributes, replace_nodes, set_initializer

MOST_NODES = 64
"""A loop is written out whose rounds come to so many nodes: LiteRT takes some microseconds for each round of
a WHILE, and no layout, fusion or quantisation reaches across its ends.
"""

_MOST_NODES_OF_SEQUENCES = 4096
"""The same of a loop that carries a sequence of tensors, which no WHILE can."""

_ROUNDS = 16


def fold_and_settle(model: onnx.ModelProto) -> None:
    """Fold constants, in place, and write out what then has but one course, until nothing changes."""
    fold_constants(model)
    for _ in range(_ROUNDS):
        if not settle(model):
            return
        fold_constants(model)


def settle(model: onnx.ModelProto) -> bool:
    """Write out, in place, each If of a constant condition and each short loop of a known number of rounds.

    Returns:
        Whether there was one.
    """
    constant = {tensor.name: tensor for tensor in model.graph.initializer}
    taken = names_of(model.graph)
    nodes, changed = list[onnx.NodeProto](), False
    for node in model.graph.node:
        written = _written(model, node, constant, taken)
        changed |= written is not None
        nodes += [node] if written is None else written
    if changed:
        replace_nodes(model, nodes)
    return changed


def _written(
    model: onnx.ModelProto,
    node: onnx.NodeProto,
    constant: Mapping[str, onnx.TensorProto],
    taken: set[str],
) -> list[onnx.NodeProto] | None:
    """What stands for a node of a known course; None if it has none."""
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "If" and node.input[0] in constant:
        branch = "then_branch" if values_of(constant[node.input[0]]).all() else "else_branch"
        writer = GraphWriter(model, attributes(node)[branch], node, taken)
        return [*writer.round({}, ""), *_renamed(writer.ends, node.output)]
    if node.op_type == "Loop":
        rounds = rounds_of(node, constant, model.opset_import)
        if rounds is None:
            return None
        if 0 < rounds * len(attributes(node)["body"].node) <= _most_nodes(node):
            return _loop(model, node, rounds, taken)
        return None if goes_on(node, constant) else [_counted(model, node, rounds, taken)]
    return None


def _counted(model: onnx.ModelProto, node: onnx.NodeProto, rounds: int, taken: set[str]) -> onnx.NodeProto:
    """The Loop with its number of rounds in place of a condition that says the same."""
    told = onnx.NodeProto.FromString(node.SerializeToString())
    body = attributes(told)["body"]
    stem = next(filter(None, node.output))
    count, going = (fresh_name(f"{stem}.{name}", stem, taken) for name in ("rounds", "going"))
    set_initializer(model, count, np.array(rounds, np.int64))
    told.input[:2] = [count, ""]
    body.node.append(helper.make_node("Identity", [body.input[1].name], [going], going))
    body.output[0].name = going
    return told


def _most_nodes(loop: onnx.NodeProto) -> int:
    body = attributes(loop)["body"]
    sequences = any(entry.type.HasField("sequence_type") for entry in body.input)
    return _MOST_NODES_OF_SEQUENCES if sequences else MOST_NODES


def _loop(model: onnx.ModelProto, node: onnx.NodeProto, rounds: int, taken: set[str]) -> list[onnx.NodeProto]:
    """All rounds one after the other, and what they collect joined."""
    body = attributes(node)["body"]
    writer = GraphWriter(model, body, node, taken)
    inputs = [entry.name for entry in body.input]
    shapes = [[1] * len(entry.type.tensor_type.shape.dim) for entry in body.input]
    current, nodes = list(node.input[2:]), list[onnx.NodeProto]()
    axis = writer.held("axis", np.array([0], np.int64))
    go = writer.held("go", np.ones(shapes[1], bool))
    collected: list[list[str]] = []
    for number in range(rounds):
        count = writer.held(f"round{number}", np.full(shapes[0], number, np.int64))
        nodes += writer.round(dict(zip(inputs, [count, go, *current], strict=True)), f".{number}")
        ends = writer.ends[1:]
        current, rows = ends[: len(current)], ends[len(current) :]
        collected.append([writer.fresh(f"{row}.row") for row in rows])
        nodes += [
            helper.make_node("Unsqueeze", [row, axis], [made], made)
            for row, made in zip(rows, collected[-1], strict=True)
        ]
    nodes += _renamed(current, node.output[: len(current)])
    for name, *parts in zip(node.output[len(current) :], *collected, strict=False):
        if name:
            nodes.append(helper.make_node("Concat", parts, [name], name, axis=0))
    return nodes


def _renamed(sources: Sequence[str], names: Iterable[str]) -> list[onnx.NodeProto]:
    pairs = zip(sources, names, strict=False)
    return [helper.make_node("Identity", [source], [name], name) for source, name in pairs if name]
