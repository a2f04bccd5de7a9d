"""Operators that have no translation, as custom operators of TFLite, where the user allows that."""

from edgepress.graph.strangers import custom_name
from edgepress.translate.layout import plain
from edgepress.translate.nested import whole
from edgepress.translate.planner import Node, Planner, Value, unsupported


def plan_custom(node: Node, planner: Planner) -> None:
    """One step that takes and gives what the node does, with axes in ONNX's order."""
    for name, given in node.attributes.items():
        if not isinstance(given, int | float | str | bytes | list) and not hasattr(given, "data_type"):
            raise unsupported(node, f"a custom operator cannot have its attribute {name}")
    for name in filter(None, node.outputs):
        if not planner.elem_type(name) or not planner.has_shape(name):
            raise unsupported(
                node,
                f"it would be a custom operator, but the shape of its output {name} is missing; "
                "declare it in the file's value_info",
            )
    values = [_plain(node, planner, name) for name in node.inputs if name]
    absent = tuple(place for place, name in enumerate(node.inputs) if not name)
    layouts = [plain(len(planner.shape(name)) if name else 0) for name in node.outputs]
    types = tuple(planner.dtype_name(name) if name else "float32" for name in node.outputs)
    planner.emit_several(
        node,
        "custom",
        tuple(values),
        layouts,
        custom_name=custom_name(node.op),
        options=dict(node.attributes),
        absent=absent,
        shapes=tuple(planner.shape(name) if name else () for name in node.outputs),
        dtypes=types,
    )


def _plain(node: Node, planner: Planner, name: str) -> Value:
    value = whole(node, planner, planner.value(name))
    return planner.stored_as(node, value, plain(len(value.shape))) if value.shape else value
