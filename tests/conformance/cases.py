"""The node tests of the ONNX standard (`onnx.backend.test`) that concern the translator's operators."""

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

LISTED = {
    *("Conv", "ConvTranspose", "BatchNormalization", "InstanceNormalization", "LayerNormalization"),
    *("LpNormalization", "Gemm", "MatMul", "Einsum", "Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Selu"),
    *("Celu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Gelu", "Erf", "Mish", "Softplus", "Softsign"),
    *("Softmax", "LogSoftmax", "Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Exp", "Log", "Reciprocal", "Neg"),
    *("Abs", "Floor", "Ceil", "Max", "Min", "Sum", "Mean", "Equal", "Greater", "GreaterOrEqual", "Less"),
    *("LessOrEqual", "And", "Or", "Xor", "Not", "Where", "MaxPool", "AveragePool", "GlobalAveragePool"),
    *("GlobalMaxPool", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1"),
    *("ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp", "Pad", "Concat", "Split", "Slice"),
    *("Gather", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Transpose", "Expand", "Tile", "DepthToSpace"),
    *("SpaceToDepth", "Resize", "Upsample", "Cast", "Shape", "Size", "Constant", "ConstantOfShape"),
    *("Identity", "Dropout", "LSTM", "GRU", "QuantizeLinear", "DequantizeLinear"),
}
"""The operators of which the translator claims to take what convolutional networks use."""

ALL_COMPUTED = {
    *("MatMul", "Einsum", "Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "Equal", "Greater"),
    *("GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor", "Where", "Concat"),
}
"""Of these every operand is computed; of all others the first is, and the rest are constants."""

TYPES = ("float32", "bool", "int8", "uint8", "int16", "int32", "int64")
_WIDE = ("uint16", "uint32", "uint64")


@dataclass(frozen=True)
class Case:
    """A model with constants as initializers; `inputs` by name and `outputs` in order are arrays."""

    name: str
    op: str
    model: onnx.ModelProto
    inputs: dict[str, np.ndarray]
    outputs: list[np.ndarray]
    rtol: float
    atol: float


@lru_cache
def cases() -> tuple[list[Case], dict[str, str]]:
    """The applicable cases, and for each of the standard's that is not, the reason."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        collected = collect_testcases(None)
    found, skipped = [], {}
    for test in collected:
        if (why := _reason(test)) is not None:
            skipped[test.name] = why
        else:
            found.append(_case(test))
    return found, skipped


def _reason(test: Any) -> str | None:
    """Why a case is not applicable."""
    if test.model is None:
        return "no model of its own"
    if len(test.model.graph.node) != 1:
        return "an operator written out as the body of its function; the operator itself is a case"
    node, (inputs, outputs) = test.model.graph.node[0], test.data_sets[0]
    if node.domain or node.op_type not in LISTED:
        return "of an operator outside the set that is claimed here"
    values = [_array(value) for value in [*inputs, *outputs]]
    tensors = [tensor for tensor in values if tensor is not None]
    if len(tensors) < len(values):
        return "sequences and optional values are no tensors"
    kinds = {_kind(value) for value in [*inputs, *outputs]}
    if kinds & set(_WIDE):
        return "LiteRT has no arithmetic for uint16, uint32 and uint64"
    if kinds - set(TYPES):
        return "neither float32 nor integer (float16, bfloat16, float64, 8-bit floats, 2- and 4-bit, text)"
    if any(tensor.size == 0 for tensor in tensors):
        return "LiteRT holds no tensors without elements"
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return _reason_of_node(node, attributes, tensors)


def _reason_of_node(
    node: onnx.NodeProto, attributes: dict[str, Any], tensors: list[np.ndarray]
) -> str | None:
    if node.op_type == "BatchNormalization" and attributes.get("training_mode"):
        return "training mode, not inference"
    if node.op_type == "Dropout" and len(tensors) - len(node.output) > 2 and bool(tensors[2]):
        return "training mode, not inference"
    if node.op_type in ("MaxPool", "Dropout") and len(node.output) > 1:
        return "a second output (indices, a mask) that networks for inference do not read"
    return None


def _kind(value: Any) -> str:
    if isinstance(value, onnx.TensorProto):
        return str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.data_type)))
    return str(np.asarray(value).dtype)


def _array(value: Any) -> np.ndarray | None:
    """The tensor as an array, None for what is no tensor."""
    if isinstance(value, onnx.TensorProto):
        return np.asarray(numpy_helper.to_array(value))
    return np.asarray(value) if isinstance(value, np.ndarray | np.generic) else None


def _tensor(value: Any) -> np.ndarray:
    array = _array(value)
    assert array is not None, "cases with anything else are skipped"
    return array


def _case(test: Any) -> Case:
    model = onnx.ModelProto()
    model.CopyFrom(test.model)
    node, (inputs, outputs) = model.graph.node[0], test.data_sets[0]
    names = [info.name for info in model.graph.input]
    given = dict(zip(names, map(_tensor, inputs), strict=True))
    computed = set(given) if node.op_type in ALL_COMPUTED else set(list(node.input)[:1])
    computed = set() if node.op_type == "ConstantOfShape" else computed
    for name in given.keys() - computed:
        model.graph.initializer.append(numpy_helper.from_array(given[name], name))
    kept = [info for info in model.graph.input if info.name in computed]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    expected = [_tensor(value) for value in outputs]
    entries = {name: value for name, value in given.items() if name in computed}
    return Case(test.name, node.op_type, model, entries, expected, test.rtol, test.atol)
