"""The operators that an int8 network computes in floats, in both runtimes alike, and why."""

import onnx

from edgepress.graph.view import initializers

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
}  # fmt: skip
"""ONNX operators, each with its reason. Div only where the divisor is computed."""


def unquantised_nodes(model: onnx.ModelProto) -> list[str]:
    """The names of the nodes that get no quantisation of their own, only that of their neighbours.

    PRelu is one, too: its slopes stay exact, and TFLite's converter quantises them for its int8 kernel.
    """
    constants = initializers(model)
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "PRelu"
        or (node.op_type in FLOAT_OPERATORS and not (node.op_type == "Div" and node.input[1] in constants))
    ]
