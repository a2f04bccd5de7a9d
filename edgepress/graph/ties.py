"""Halves of a step behind a linear Resize, which LiteRT rounds up and ONNX Runtime to even.

Between two pixels lie multiples of 1/16 of a step, say, so one element in sixteen is just half-way between
two codes. In the ONNX model an Add raises such tensors by a thousandth of a step, so that both runtimes round
halves up. It has no part in the network, and whoever reads the model for its layers leaves it out.
"""

import numpy as np
import onnx

from edgepress.graph.renaming import rename_reads
from edgepress.graph.view import attributes, copy, initializers, producers, replace_nodes

_NOTE = "raises halves of a step, which LiteRT rounds up"
ASIDE = 1e-3
"""Of a step: less than half of 1/256, and more than float32 errs by."""


def raise_halves(model: onnx.ModelProto) -> None:
    """Let ONNX Runtime round like LiteRT what a linear Resize makes, in place."""
    constants, makers, raised = initializers(model), producers(model), dict[str, onnx.NodeProto]()
    for node in model.graph.node:
        maker = makers.get(node.input[0]) if node.op_type == "QuantizeLinear" else None
        if maker is None or not _is_linear(maker) or node.input[1] not in constants:
            continue
        name, part = maker.output[0], f"{maker.output[0]}.part"
        constants.set(part, np.asarray(constants[node.input[1]] * np.float32(ASIDE), np.float32))
        maker.output[0] = f"{name}.even"
        raised[maker.output[0]] = onnx.helper.make_node(
            "Add", [maker.output[0], part], [name], f"{name}.raised", doc_string=_NOTE
        )
    nodes = [each for node in model.graph.node for each in (node, raised.get(node.output[0])) if each]
    replace_nodes(model, nodes)


def without_raised_halves(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without these Adds; itself where it has none."""
    if not any(node.doc_string == _NOTE for node in model.graph.node):
        return model
    plain = copy(model)
    instead = {node.output[0]: node.input[0] for node in plain.graph.node if node.doc_string == _NOTE}
    for node in plain.graph.node:
        if node.doc_string != _NOTE:
            rename_reads(node, instead)
    replace_nodes(plain, [node for node in plain.graph.node if node.doc_string != _NOTE])
    return plain


def _is_linear(node: onnx.NodeProto) -> bool:
    return node.op_type in ("Resize", "Upsample") and attributes(node).get("mode", "nearest") == "linear"
