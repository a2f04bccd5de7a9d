"""Old forms of operators that onnx's version converter gets wrong or refuses."""

import numpy as np
import onnx
from onnx import helper

from edgepress.graph.normalise.limits import refuse
from edgepress.graph.view import Array, attributes, initializers, replace_nodes, set_initializer

FIRST_SAMPLING_OPSET = 11
"""From it on, Resize says which samples it takes."""


def write_anew(model: onnx.ModelProto, opset: int) -> None:
    """Prepare a model of this opset, in place, for the version converter.

    A Pad that repeats its border loses the value that it does not read (up to opset 10). A
    BatchNormalization with statistics of each element becomes a product and a sum (up to opset 8). A Hardmax
    counts all axes from its own on as one (up to opset 12).

    Raises:
        UnsupportedModelError: such statistics are computed, or a BatchNormalization is in training mode.
    """
    nodes = []
    for node in model.graph.node:
        given = attributes(node)
        if node.op_type == "BatchNormalization" and (given.get("training_mode", 0) or any(node.output[1:])):
            refuse(f"{_title(node)} is in training mode", "export the network in evaluation mode")
        if node.op_type == "Pad" and opset < 11 and given.get("mode", "constant") != "constant":
            _drop(node, "value")
        if node.op_type == "BatchNormalization" and given.get("spatial", 1) == 0:
            nodes.extend(_of_elements(model, node))
        elif node.op_type == "Hardmax" and opset < 13:
            nodes.extend(_of_rows(node))
        else:
            nodes.append(node)
    replace_nodes(model, nodes)


def _title(node: onnx.NodeProto) -> str:
    return f"node {node.name or node.output[0]!r} ({node.op_type})"


def _of_rows(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    (x,), output = node.input, node.output[0]
    return [
        helper.make_node("Shape", [x], [f"{output}.sizes"], f"{node.name}.sizes"),
        helper.make_node("Flatten", [x], [f"{output}.flat"], f"{node.name}.flat", axis=_axis(node)),
        helper.make_node("Hardmax", [f"{output}.flat"], [f"{output}.rows"], node.name, axis=1),
        helper.make_node("Reshape", [f"{output}.rows", f"{output}.sizes"], [output], f"{node.name}.shaped"),
    ]


def _axis(node: onnx.NodeProto) -> int:
    return int(attributes(node).get("axis", 1))


def _of_elements(model: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    known, (x, *operands), output = initializers(model), node.input, node.output[0]
    if any(name not in known for name in operands):
        refuse(f"{_title(node)} has statistics of each element that are no constants")
    scale, shift, mean, variance = (known[name].astype(np.float64) for name in operands)
    factor = scale / np.sqrt(variance + attributes(node).get("epsilon", 1e-5))
    parts = {"factor": factor, "shift": shift - mean * factor}
    for part, values in parts.items():
        set_initializer(model, f"{output}.{part}", values.astype(np.float32))
    return [
        helper.make_node("Mul", [x, f"{output}.factor"], [f"{output}.scaled"], node.name),
        helper.make_node(
            "Add", [f"{output}.scaled", f"{output}.shift"], [output], f"{node.name or output}.shifted"
        ),
    ]


def sample_as_before(model: onnx.ModelProto) -> None:
    """Give each Resize, in place, the options that say what Upsample and Resize did up to opset 10.

    They sampled at x / scale. The nearest sample is the one before for larger images; for smaller ones it is
    the one behind, in onnx's own test as in ONNX Runtime. An image that grows along one axis and shrinks
    along another is resized twice.
    """
    known, nodes = initializers(model), list[onnx.NodeProto]()
    for node in model.graph.node:
        nodes.extend(_sampled(model, node, known.get(node.input[2])) if node.op_type == "Resize" else [node])
    replace_nodes(model, nodes)


def _sampled(model: onnx.ModelProto, node: onnx.NodeProto, scales: Array | None) -> list[onnx.NodeProto]:
    mode = attributes(node).get("mode", "nearest")
    smaller = np.zeros(1, bool) if scales is None or mode != "nearest" else scales < 1
    if not smaller.any():
        return [_with_options(node, "floor")]
    assert scales is not None
    if not (scales > 1).any():
        return [_with_options(node, "ceil")]
    grown = f"{node.output[0]}.grown"
    first, second = onnx.NodeProto(), onnx.NodeProto()
    for made, chosen, suffix in ((first, ~smaller, "grown"), (second, smaller, "shrunk")):
        made.CopyFrom(node)
        made.name = f"{node.name or node.output[0]}.{suffix}"
        made.input[2] = f"{node.output[0]}.{suffix}.scales"
        set_initializer(model, made.input[2], np.where(chosen, scales, np.float32(1)))
    first.output[0] = second.input[0] = grown
    return [_with_options(first, "floor"), _with_options(second, "ceil")]


def _with_options(node: onnx.NodeProto, rounding: str) -> onnx.NodeProto:
    for name, value in (("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", rounding)):
        _drop(node, name)
        node.attribute.append(helper.make_attribute(name, value))
    return node


def _drop(node: onnx.NodeProto, name: str) -> None:
    for attribute in [each for each in node.attribute if each.name == name]:
        node.attribute.remove(attribute)
