"""The operators that an int8 network computes in floats, in both runtimes alike, and why."""

import onnx

from edgepress.graph.view import attributes, initializers

_NO_KERNEL = "LiteRT has no int8 kernel of it"
_STATISTICS = "8 bits do not hold the squares that a variance or norm is made of"

FLOAT_OPERATORS = {
    **dict.fromkeys(
        ("LayerNormalization", "InstanceNormalization", "GroupNormalization", "LpNormalization", "ReduceL2"),
        _STATISTICS,
    ),
    **dict.fromkeys(
        ("Elu", "Selu", "Celu", "Softplus", "Softsign", "Mish", "Erf", "Neg", "Pow", "Reciprocal",
         "LogSoftmax", "Floor", "Ceil", "LSTM", "GRU"),
        _NO_KERNEL,
    ),
    "Div": "LiteRT's int8 kernel refuses a computed divisor that was rounded to 0",
    "ConvTranspose": "neither runtime has one in groups with a scale per channel",
}  # fmt: skip
"""ONNX operators, each with its reason. Div only where its divisor is computed, ConvTranspose in groups."""


def unquantised_nodes(model: onnx.ModelProto) -> list[str]:
    """The names of the nodes that get no quantisation of their own, only that of their neighbours.

    PRelu is one, too: its slopes stay exact, and TFLite's converter quantises them for its int8 kernel.
    """
    slopes = [node.name for node in model.graph.node if node.op_type == "PRelu"]
    return [node.name for node in float_nodes(model)] + slopes


def float_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes of the operators in `FLOAT_OPERATORS`, of a float model or a QDQ one."""
    constants = set(initializers(model))
    dequantised = (node for node in model.graph.node if node.op_type == "DequantizeLinear")
    constants |= {node.output[0] for node in dequantised if node.input[0] in constants}
    nodes = [node for node in model.graph.node if node.op_type in FLOAT_OPERATORS]
    return [node for node in nodes if not _has_kernel(node, constants)]


def _has_kernel(node: onnx.NodeProto, constants: set[str]) -> bool:
    """Whether this one of a kind that else stays float has an int8 kernel."""
    if node.op_type == "ConvTranspose":
        return bool(attributes(node).get("group", 1) == 1)
    return node.op_type == "Div" and node.input[1] in constants
