"""Each operator that the translator takes, in each form that it had from opset 7 to 21."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepress.graph.normalise.normalise import normalise
from edgepress.translate.ops.table import PLANNERS
from edgepress.translate.planning import plan_graph
from tests.networks import run_onnx

RANDOM = np.random.default_rng(0)
Form = tuple[list[Any], dict[str, Any]]
"""The operands behind the input, arrays or None, and the attributes of a node."""


def floats(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def positive(*shape: int) -> np.ndarray:
    return RANDOM.uniform(0.5, 1.5, shape).astype(np.float32)


def moved(since: int, name: str, value: list[int], **attributes: Any) -> Callable[[int], Form]:
    """A form whose `name` is an attribute before opset `since` and an operand from then on."""

    def form(opset: int) -> Form:
        return ([np.array(value)], attributes) if opset >= since else ([], {name: value, **attributes})

    return form


def clip(opset: int) -> Form:
    return ([np.float32(-1), np.float32(1)], {}) if opset >= 11 else ([], {"min": -1.0, "max": 1.0})


def pad(opset: int) -> Form:
    pads = [0, 0, 1, 2, 0, 0, 2, 1]
    return ([np.array(pads)], {}) if opset >= 11 else ([], {"pads": pads})


def cut(opset: int) -> Form:
    spans = {"starts": [1, 0], "ends": [5, 3], "axes": [2, 3]}
    return ([np.array(span) for span in spans.values()], {}) if opset >= 10 else ([], spans)


def resize(opset: int) -> Form:
    scales = np.array([1, 1, 2, 2], np.float32)
    if opset < 11:
        return [scales], {}
    return [None if opset >= 13 else np.zeros(0, np.float32), scales], {}


def upsample(opset: int) -> Form:
    scales = [1.0, 1.0, 2.0, 2.0]
    return ([np.array(scales, np.float32)], {}) if opset >= 9 else ([], {"scales": scales})


def dropout(opset: int) -> Form:
    return ([np.float32(0.3)], {}) if opset >= 12 else ([], {"ratio": 0.3})


def normalised(opset: int) -> Form:
    return [positive(4), floats(4), floats(4), positive(4)], {}


def recurrent(gates: int) -> Callable[[int], Form]:
    operands = [floats(1, gates * 5, 4), floats(1, gates * 5, 5), floats(1, 2 * gates * 5)]
    return plain(*operands, hidden_size=5)


def plain(*operands: Any, **attributes: Any) -> Callable[[int], Form]:
    return lambda opset: (list(operands), attributes)


WINDOW = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
FORMS: dict[str, Callable[[int], Form]] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Max", "Min", "Sum", "Mean"), plain(floats(1, 4, 6, 6))),
    **dict.fromkeys(("Div", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"), plain(positive(4, 1, 1))),
    **{f"Reduce{name}": moved(18, "axes", [2, 3]) for name in
       ("Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp", "LogSum")},
    "ReduceSum": moved(13, "axes", [2, 3]),
    "AveragePool": plain(**WINDOW),
    "BatchNormalization": normalised,
    "Cast": plain(to=TensorProto.INT32),
    "Clip": clip,
    "Concat": plain(axis=1),
    "Conv": plain(floats(8, 4, 3, 3), floats(8)),
    "ConvTranspose": plain(floats(4, 3, 2, 2), floats(3), strides=[2, 2]),
    "DepthToSpace": plain(blocksize=2),
    "Dropout": dropout,
    "Einsum": plain(floats(6, 5), equation="nchw,wk->nchk"),
    "Expand": plain(np.array([1, 4, 6, 6])),
    "GRU": recurrent(3),
    "Gather": plain(np.array([2, 0]), axis=1),
    "Gemm": plain(floats(4, 3), floats(3)),
    "GroupNormalization": plain(positive(4), floats(4), num_groups=2),
    "InstanceNormalization": plain(positive(4), floats(4)),
    "LSTM": recurrent(4),
    "LayerNormalization": plain(positive(6), floats(6)),
    "LpNormalization": plain(axis=1),
    "MatMul": plain(floats(6, 5)),
    "MaxPool": plain(**WINDOW),
    "PRelu": plain(positive(4, 1, 1)),
    "Pad": pad,
    "Pow": plain(np.float32(2)),
    "Reshape": plain(np.array([-1, 2, 2, 36])),
    "Resize": resize,
    "Slice": cut,
    "SpaceToDepth": plain(blocksize=2),
    "Split": lambda opset: ([], {"axis": 1, **({"num_outputs": 2} if opset >= 18 else {})}),
    "Squeeze": moved(13, "axes", [1]),
    "Tile": plain(np.array([1, 2, 1, 1])),
    "Transpose": plain(perm=[0, 2, 3, 1]),
    "Unsqueeze": moved(13, "axes", [2]),
    "Upsample": upsample,
}  # fmt: skip
"""Of an operator that is not here, the form has the input alone and no attributes."""

SHAPES = {
    "Expand": ("n", 1, 6, 6),
    "GRU": ("n", 3, 4),
    "Gemm": ("n", 4),
    "LSTM": ("n", 3, 4),
    "Squeeze": ("n", 1, 6, 6),
}
POSITIVE = ("Log", "Sqrt", "ReduceLogSum", "Reciprocal", "Pow")
LOGICAL = ("And", "Or", "Xor", "Not", "Equal", "Where")
RECURRENT = ("GRU", "LSTM")
WHOLE = ("QuantizeLinear", "DequantizeLinear")


def opsets(op: str) -> list[int]:
    """The first opset, from 7 to 21, of each version of the operator's definition."""
    versions = [s for s in onnx.defs.get_all_schemas_with_history() if (s.domain, s.name) == ("", op)]
    return sorted({max(7, s.since_version) for s in versions if s.since_version <= 21 and not s.deprecated})


CASES = [(op, opset) for op in sorted(PLANNERS) for opset in opsets(op)]


def network(op: str, opset: int) -> onnx.ModelProto:
    """The operator behind nodes that give it what it takes, and before a cast to floats."""
    operands, attributes = FORMS.get(op, plain())(opset)
    names = [f"operand_{i}" if value is not None else "" for i, value in enumerate(operands)]
    constants = {name: value for name, value in zip(names, operands, strict=True) if name}
    nodes, inputs = _before(op, constants)
    made = ["made", "rest"] if op == "Split" else ["made"]
    kind = "DequantizeLinear" if op in WHOLE else op
    nodes.append(helper.make_node(kind, [*inputs, *names], made, "it", **attributes))
    if op in RECURRENT:
        nodes.append(helper.make_node("Transpose", ["made"], ["first"], perm=[2, 0, 1, 3]))
    nodes.append(helper.make_node("Cast", nodes[-1].output[:1], ["y"], to=TensorProto.FLOAT))
    entry = helper.make_tensor_value_info("input", TensorProto.FLOAT, SHAPES.get(op, ("n", 4, 6, 6)))
    end = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "graph", [entry], [end], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _before(op: str, constants: dict[str, np.ndarray]) -> tuple[list[onnx.NodeProto], list[str]]:
    """The nodes before the operator, and the tensors that they give it; constants of theirs are added."""
    make = helper.make_node
    first = make("Abs" if op in POSITIVE else "Neg", ["input"], ["x"])
    if op in LOGICAL:
        constants |= {"low": np.float32(0), "high": floats(6, 6)}
        nodes = [first, make("Greater", ["x", "low"], ["p"]), make("Less", ["x", "high"], ["q"])]
        return nodes, {"Not": ["p"], "Where": ["p", "x", "high"]}.get(op, ["p", "q"])
    if op in WHOLE:
        constants |= {"scale": np.float32(0.05), "zero": np.int8(3)}
        quantised = make("QuantizeLinear", ["x", "scale", "zero"], ["codes"])
        return [first, quantised], ["codes", "scale", "zero"]
    if op in RECURRENT:
        return [first, make("Transpose", ["x"], ["sequence"], perm=[1, 0, 2])], ["sequence"]
    return [first], ["x", "x"] if op == "Concat" else ["x"]


def test_each_operator_has_its_opsets():
    assert len(CASES) > 250 and {op for op, _ in CASES} == set(PLANNERS)


@pytest.mark.parametrize(("op", "opset"), CASES)
def test_an_operator_is_taken_in_the_form_of_each_opset(op, opset):
    model = network(op, opset)
    shape = [1 if isinstance(size, str) else size for size in SHAPES.get(op, ("n", 4, 6, 6))]
    inputs = floats(*shape)
    expected = run_onnx(model, inputs)
    result = normalise(model)
    np.testing.assert_allclose(run_onnx(result, inputs), expected, rtol=1e-5, atol=1e-5)
    assert plan_graph(result).steps
