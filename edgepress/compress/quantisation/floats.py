"""The operators that an int8 network computes in floats, in both runtimes alike, and why."""

from collections.abc import Collection, Mapping

import onnx

from edgepress.compress.quantisation.sharing import joins
from edgepress.graph.kept_floats import stays_float
from edgepress.graph.view import attributes, consumers, initializers, operands, producers

_NO_KERNEL = "LiteRT has no int8 kernel of it"
_STATISTICS = "8 bits do not hold the squares that a variance or norm is made of"

FLOAT_OPERATORS = {
    **dict.fromkeys(
        ("LayerNormalization", "InstanceNormalization", "GroupNormalization", "LpNormalization", "ReduceL2"),
        _STATISTICS,
    ),
    **dict.fromkeys(
        ("Elu", "Selu", "Celu", "Softplus", "Softsign", "Mish", "Erf", "Neg", "Pow", "Reciprocal",
         "LogSoftmax", "Floor", "Ceil"),
        _NO_KERNEL,
    ),
    **dict.fromkeys(("If", "Loop", "Scan"), "the networks within it are computed in floats"),
    "Div": "LiteRT's int8 kernel refuses a computed divisor that was rounded to 0",
    "MatMul": "LiteRT's int8 kernel of two computed matrices rounds twice, one code in 250 the other way",
    "ConvTranspose": "neither runtime has one in groups with a scale per channel, or of volumes",
}  # fmt: skip
"""ONNX operators, each with its reason. Div only where its divisor is computed, ConvTranspose in groups or of
volumes.
"""

_INTEGERS = (
    "Abs", "Add", "And", "AveragePool", "BatchNormalization", "Cast", "Clip", "Compress", "Concat", "Conv",
    "ConvTranspose", "DepthToSpace", "Div", "Dropout", "Einsum", "Equal", "Exp", "Expand", "Flatten",
    "Gather", "GatherElements", "GatherND", "Gelu", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "Greater",
    "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Less", "LessOrEqual", "Log",
    "MatMul", "Max", "MaxPool", "Mean", "Min", "Mul", "Not", "Or", "PRelu", "Pad", "ReduceL1",
    "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum",
    "ReduceSumSquare", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Softmax", "SpaceToDepth", "Split",
    "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze", "Upsample",
    "Where", "Xor",
)  # fmt: skip
"""What has integer kernels in both runtimes, or becomes operators that have; all else stays in floats."""


def reason(op_type: str) -> str:
    """Why an operator stays in floats."""
    return FLOAT_OPERATORS.get(op_type, _NO_KERNEL)


_VOLUME = 5
"""Axes of a kernel for volumes."""

_MOVING = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Slice", "Split", "Trilu")
_SCORING = ("Mul", "Div", "Add", "Sub", "Where", "Clip", "Max", "Min", "Softmax")
"""What stays float behind a product of computed matrices: all that moves it, and what leads to a Softmax."""

_OF_DIVISORS = (
    *_MOVING, "Abs", "Add", "Cast", "Clip", "Div", "Exp", "Expand", "Max", "Min", "Mul", "Pow", "Reciprocal",
    "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceSum", "ReduceSumSquare", "Sqrt", "Sub", "Sum",
    "Where",
)  # fmt: skip
"""What sums, norms and their guards against 0 are made of."""


def unquantised_nodes(model: onnx.ModelProto) -> list[str]:
    """The names of the nodes that get no quantisation of their own, only that of their neighbours.

    PRelu is one, too: its slopes stay exact, and TFLite's converter quantises them for its int8 kernel. A
    Relu or Clip behind a join is one, so that onnxruntime leaves the join the range of its operands.
    """
    makers, kept = producers(model), list[str]()
    for node in model.graph.node:
        maker = makers.get(node.input[0]) if node.op_type in ("Relu", "Clip") else None
        clips_joined = maker is not None and joins(model, maker)
        if node.op_type == "PRelu" or stays_float(node) or clips_joined:
            kept.append(node.name)
    found = [node.name for node in float_nodes(model)] + _behind_products(model) + _divisors(model) + kept
    return [*dict.fromkeys(found + _of_sizes(model))]


_FROM_TABLES = ("Expand", "Gather", "GatherElements", "GatherND", "Slice", "Tile")
"""What gives elements of its first operand, whatever the others are."""


def _of_sizes(model: onnx.ModelProto) -> list[str]:
    """What is computed of sizes alone: codes for those of the calibration inputs hold no larger ones.

    Elements of a constant, such as embeddings of positions, are no larger than those that it holds.
    """
    constants, known, names = initializers(model), set[str](), list[str]()
    tables = {name for name, values in constants.items() if values.dtype.kind == "f"}
    for node in model.graph.node:
        computed = [name for name in operands(node) if name and name not in constants]
        if node.op_type in _FROM_TABLES and node.input[0] in tables:
            continue
        if node.op_type in ("Shape", "Size") or (computed and known.issuperset(computed)):
            known.update(node.output)
            names.append(node.name)
    return names


def _divisors(model: onnx.ModelProto) -> list[str]:
    """What computes a divisor: codes that hold large ones are 0 for small ones, and quotients infinite."""
    constants, makers, names = set(initializers(model)), producers(model), dict[str, None]()
    ahead = [node.input[1] for node in model.graph.node if node.op_type == "Div"]
    while ahead:
        node = makers.get(ahead.pop())
        if node is not None and node.op_type in _OF_DIVISORS and node.name not in names:
            names[node.name] = None
            ahead += [name for name in node.input if name not in constants]
    return list(names)


def _behind_products(model: onnx.ModelProto) -> list[str]:
    """What would turn products of computed matrices into int8 again if it were quantised."""
    constants, readers = set(initializers(model)), consumers(model)
    floats, names = set[str](), list[str]()
    for node in model.graph.node:
        computed = [name for name in node.input if name and name not in constants]
        follows = bool(computed) and floats.issuperset(computed)
        if _is_product(node, constants) or (follows and _carries(node, readers)):
            floats.update(node.output)
            names.append(node.name)
    return names


def _is_product(node: onnx.NodeProto, constants: Collection[str]) -> bool:
    return node.op_type == "MatMul" and not any(name in constants for name in node.input)


def _carries(node: onnx.NodeProto, readers: Mapping[str, list[onnx.NodeProto]]) -> bool:
    return node.op_type in _MOVING or (node.op_type in _SCORING and _scores(node, readers))


def _scores(node: onnx.NodeProto, readers: Mapping[str, list[onnx.NodeProto]]) -> bool:
    """Whether it leads to a Softmax, or is one."""
    following = (each for each in readers[node.output[0]] if each.op_type in (*_MOVING, *_SCORING))
    return node.op_type == "Softmax" or any(_scores(each, readers) for each in following)


def float_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that have no integer kernels, of a float model or a QDQ one; `reason` says why."""
    constants = {tensor.name: len(tensor.dims) for tensor in model.graph.initializer}
    dequantised = (node for node in model.graph.node if node.op_type == "DequantizeLinear")
    constants |= {
        node.output[0]: constants[node.input[0]] for node in dequantised if node.input[0] in constants
    }
    own = ("QuantizeLinear", "DequantizeLinear")
    others = (node for node in model.graph.node if node.op_type not in own)
    nodes = [n for n in others if n.op_type in FLOAT_OPERATORS or n.op_type not in _INTEGERS]
    return [node for node in nodes if not _has_kernel(node, constants)]


def _has_kernel(node: onnx.NodeProto, constants: Mapping[str, int]) -> bool:
    """Whether this one of a kind that else stays float has an int8 kernel, by the ranks of constants."""
    if node.op_type == "ConvTranspose":
        return bool(attributes(node).get("group", 1) == 1) and constants.get(node.input[1], 0) < _VOLUME
    if node.op_type == "MatMul":
        return not _is_product(node, constants)
    return node.op_type == "Div" and node.input[1] in constants
