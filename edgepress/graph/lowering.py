"""What onnx's version converter leaves undone when a model is written in an older opset."""

import onnx

NEW_DEFAULTS: dict[str, object] = {
    "noop_with_empty_axes": 0,
    "antialias": 0,
    "keep_aspect_ratio_policy": b"stretch",
}
"""Attributes that came after opset 15, and the value that says nothing."""

_NEW_WORDS = (b"wrap", b"half_pixel_symmetric")
"""Values that old attributes of Pad and Resize took later; onnx's checker reads none."""


def drop_new_defaults(model: onnx.ModelProto) -> None:
    """Remove in place the attributes that older opsets do not know, where they have their default."""
    for node in model.graph.node:
        for attribute in list(node.attribute):
            value = onnx.helper.get_attribute_value(attribute)
            if attribute.name in NEW_DEFAULTS and NEW_DEFAULTS[attribute.name] == value:
                node.attribute.remove(attribute)


def restamped(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """The same nodes under an older number: onnx cannot convert a Pad or Resize that uses nothing new.

    Whether the nodes fit the number is otherwise for onnx's checker to say.

    Raises:
        ValueError: an attribute has a value that came later.
    """
    for node in model.graph.node:
        if words := [attribute.s for attribute in node.attribute if attribute.s in _NEW_WORDS]:
            raise ValueError(f"{node.op_type} did not know {words[0].decode()!r} yet")
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for domain in changed.opset_import:
        domain.version = version if domain.domain in ("", "ai.onnx") else domain.version
    return changed
