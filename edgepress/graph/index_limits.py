"""How large the integers of an input may be that choose rows of a table, as token ids do."""

from collections.abc import Mapping

import onnx

from edgepress.graph.shapes import inferred_infos
from edgepress.graph.view import attributes, consumers, initializers

_MOVES = (
    "Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Expand", "Tile",
    "Concat", "Split", "Clip",
)  # fmt: skip
"""What hands integers on; their first operand is what is handed on, but for Concat, which joins all."""

_TABLES = ("Gather", "GatherElements")


def index_limits(model: onnx.ModelProto) -> dict[str, int]:
    """The rows of the smallest table that an input chooses from, for each input that chooses any."""
    readers, known = consumers(model), initializers(model)
    infos = inferred_infos(model)
    found: dict[str, int] = {}
    for entry in model.graph.input:
        rows = [_rows(node, known, infos) for node in _choosing(entry.name, readers)]
        if limits := [limit for limit in rows if limit]:
            found[entry.name] = min(limits)
    return found


def _choosing(name: str, readers: Mapping[str, list[onnx.NodeProto]]) -> list[onnx.NodeProto]:
    """The nodes that take a tensor, however it is moved, as indices into a table."""
    names, found = [name], list[onnx.NodeProto]()
    for each in names:  # it grows on the way
        for node in readers[each]:
            if node.op_type in _TABLES and len(node.input) > 1 and node.input[1] == each:
                found.append(node)
            elif node.op_type in _MOVES and (node.op_type == "Concat" or node.input[0] == each):
                names.extend(one for one in node.output if one and one not in names)
    return found


def _rows(node: onnx.NodeProto, known: object, infos: Mapping[str, onnx.ValueInfoProto]) -> int:
    """The table's size along the axis that is chosen from; 0 where it is not known."""
    table, axis = node.input[0], int(attributes(node).get("axis", 0))
    if isinstance(known, Mapping) and table in known:
        shape = list(known[table].shape)
    elif table in infos:
        shape = [dim.dim_value for dim in infos[table].type.tensor_type.shape.dim]
    else:
        return 0
    return int(shape[axis]) if -len(shape) <= axis < len(shape) else 0
