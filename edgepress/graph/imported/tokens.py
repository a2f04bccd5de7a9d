"""Constants that are joined to every sample, as the class token of a transformer is."""

from collections.abc import Mapping

import numpy as np
import onnx

from edgepress.graph.normalise.native import inferred
from edgepress.graph.view import (
    Array,
    attributes,
    initializers,
    needed_nodes,
    producers,
    replace_nodes,
    set_initializer,
)

Sizes = Mapping[str, tuple[int | None, ...]]


def pad_for_tokens(model: onnx.ModelProto) -> None:
    """Write Concat(Expand(token), x) as Pad(x) + constant, in place; the model computes the same.

    Exporters expand a token by the size of the batch, which they compute; nothing else here needs that size.
    """
    known, made_by, sizes = initializers(model), producers(model), _sizes(model)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        tokens = {}
        if node.op_type == "Concat":
            made = [made_by.get(name) for name in node.input]
            found = [None if maker is None else _token(maker, known, sizes) for maker in made]
            tokens = {place: token for place, token in enumerate(found) if token is not None}
        joined = sizes.get(node.output[0], ())
        fixed = None not in joined[1:] and attributes(node).get("axis", 0) % max(len(joined), 1) > 0
        if tokens and len(tokens) == len(node.input) - 1 and fixed:
            nodes += _padded(model, node, tokens, joined)
        else:
            nodes.append(node)
    replace_nodes(model, needed_nodes(model, nodes))


def _sizes(model: onnx.ModelProto) -> Sizes:
    return {
        name: tuple(d.dim_value if d.HasField("dim_value") else None for d in info.type.tensor_type.shape.dim)
        for name, info in inferred(model).items()
    }


def _token(node: onnx.NodeProto, known: Mapping[str, Array], sizes: Sizes) -> Array | None:
    """The constant (1, ...) that a node repeats for each sample, or None if it does something else."""
    target = sizes.get(node.output[0], ())
    if node.op_type != "Expand" or node.input[0] not in known or target[:1] != (None,) or None in target[1:]:
        return None
    constant = known[node.input[0]]
    if constant.dtype != np.float32 or (constant.ndim == len(target) and constant.shape[0] != 1):
        return None
    return np.broadcast_to(constant, (1, *(int(size or 1) for size in target[1:])))


def _padded(
    model: onnx.ModelProto, node: onnx.NodeProto, tokens: Mapping[int, Array], sizes: tuple[int | None, ...]
) -> list[onnx.NodeProto]:
    rank, name = len(sizes), node.output[0]
    axis = attributes(node)["axis"] % rank
    (place,) = set(range(len(node.input))) - set(tokens)
    before = sum(token.shape[axis] for i, token in tokens.items() if i < place)
    after = sum(token.shape[axis] for i, token in tokens.items() if i > place)
    shape = list(next(iter(tokens.values())).shape)
    shape[axis] = int(sizes[axis] or 0) - before - after
    whole = [tokens.get(i, np.zeros(shape, np.float32)) for i in range(len(node.input))]
    pads = np.zeros(2 * rank, np.int64)
    pads[axis], pads[rank + axis] = before, after
    set_initializer(model, f"{name}.pads", pads)
    set_initializer(model, f"{name}.tokens", np.concatenate(whole, axis))
    return [
        onnx.helper.make_node("Pad", [node.input[place], f"{name}.pads"], [f"{name}.padded"], f"{name}.pad"),
        onnx.helper.make_node("Add", [f"{name}.padded", f"{name}.tokens"], [name], node.name),
    ]
