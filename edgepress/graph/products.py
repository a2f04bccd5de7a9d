"""Summands behind products with a constant matrix, put where these can take them as their bias."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx

from edgepress.graph.shapes import inferred_infos
from edgepress.graph.view import (
    Array,
    attributes,
    consumers,
    initializers,
    producers,
    replace_nodes,
)

_MOVES = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
_MOST_PLACES = 1 << 22

Constants = Mapping[str, Array]


def add_rows_at_products(model: onnx.ModelProto) -> None:
    """Add a constant right behind the MatMul whose outputs it belongs to, in place.

    Exporters write the bias of attention's layers behind the reshape, or transpose, that splits the heads. It
    is moved where it has one number for each of the layer's outputs, which the moves in between carry along.
    """
    found, constants = list(_found(model)), initializers(model)
    for add, moves, product, row in found:
        name = f"{product.output[0]}.row"
        constants.set(name, row)
        biased = f"{product.output[0]}.biased"
        moves[-1].input[0] = biased
        moves[0].output[0] = add.output[0]
        add.input[:], add.output[:] = [product.output[0], name], [biased]
    if found:
        moved = {id(product): add for add, _, product, _ in found}
        gone = {id(add) for add in moved.values()}
        nodes = list[onnx.NodeProto]()
        for node in model.graph.node:
            nodes += [] if id(node) in gone else [node]
            nodes += [moved[id(node)]] if id(node) in moved else []
        replace_nodes(model, nodes)


Found = tuple[onnx.NodeProto, list[onnx.NodeProto], onnx.NodeProto, Array]


def _found(model: onnx.ModelProto) -> Iterator[Found]:
    """Each such Add with the moves before it, the last one first, the MatMul and the row (outputs,)."""
    constants = initializers(model)
    adds = [n for n in model.graph.node if n.op_type == "Add" and any(name in constants for name in n.input)]
    if not adds:
        return
    makers, readers, infos = producers(model), consumers(model), inferred_infos(model)
    ranks = ranks_of_constants(model)
    shown = {output.name for output in model.graph.output}
    for add in adds:
        given = [name for name in add.input if name not in constants]
        moves, name = list[onnx.NodeProto](), given[0] if len(given) == 1 else ""
        while name in makers and len(readers[name]) == 1 and name not in shown:
            maker = makers[name]
            if maker.op_type not in _MOVES:
                break
            moves.append(maker)
            name = maker.input[0]
        product = makers.get(name)
        if not moves or product is None or not is_layer(product, ranks):
            continue
        if len(readers[name]) != 1 or name in shown or name not in infos:
            continue
        constant = constants[next(each for each in add.input if each in constants)]
        sizes = [dim.dim_value or 1 for dim in infos[name].type.tensor_type.shape.dim]
        row = _row(sizes, moves, constant, constants)
        if row is not None:
            yield add, moves, product, row


def ranks_of_constants(model: onnx.ModelProto) -> dict[str, int]:
    """The number of axes of each initializer."""
    return {tensor.name: len(tensor.dims) for tensor in model.graph.initializer}


def is_layer(node: onnx.NodeProto, ranks: Mapping[str, int]) -> bool:
    """Whether it multiplies what is computed with a constant matrix (inputs, outputs)."""
    return node.op_type == "MatMul" and node.input[0] not in ranks and ranks.get(node.input[1]) == 2


def _row(
    sizes: Sequence[int], moves: Sequence[onnx.NodeProto], constant: Array, constants: Constants
) -> Array | None:
    """One number for each output, found by moving the outputs' numbers; None where they differ by place."""
    if not sizes or np.prod(sizes) > _MOST_PLACES or constant.dtype != np.float32:
        return None
    places: Array | None = np.broadcast_to(np.arange(sizes[-1]), sizes)
    for move in reversed(moves):
        places = None if places is None else _moved(places, move, constants)
    if places is None or np.broadcast_shapes(places.shape, constant.shape) != places.shape:
        return None
    each = np.broadcast_to(constant, places.shape)
    row = np.zeros(sizes[-1], np.float32)
    row[places] = each
    same = bool((row[places] == each).all())
    return row if same else None


def _moved(places: Array, move: onnx.NodeProto, constants: Constants) -> Array | None:
    given, known = (
        attributes(move),
        [constants[name].tolist() for name in move.input[1:] if name in constants],
    )
    try:
        match move.op_type:
            case "Transpose":
                return places.transpose(given.get("perm"))
            case "Reshape":
                sizes = [places.shape[i] if size == 0 else size for i, size in enumerate(known[0])]
                return places.reshape(sizes)
            case "Flatten":
                axis = given.get("axis", 1) % (places.ndim + 1)
                return places.reshape(int(np.prod(places.shape[:axis])), -1)
            case "Squeeze":
                axes = known[0] if known else given.get("axes")
                return places.squeeze(None if axes is None else tuple(axes))
            case "Unsqueeze":
                return np.expand_dims(places, tuple(known[0] if known else given["axes"]))
            case _:
                return places
    except (ValueError, IndexError, TypeError):  # sizes that only another batch has
        return None
