"""Sequences of tensors are written out, and the network computes the same."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepress.errors import UnsupportedModelError
from edgepress.graph.normalise.normalise import normalise
from edgepress.graph.view import copy
from edgepress.translate.planning import make_plan
from tests.networks import assert_close, run_onnx, run_written

node = helper.make_node
CONSTANTS = {
    "two": np.array(2), "last": np.array(-1), "first": np.array(0), "sizes": np.array([1, 3, 1]),
    "picked": np.array([1]), "beyond": np.array(7),
}  # fmt: skip


def build(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    used = {name for each in nodes for name in each.input}
    tensors = [numpy_helper.from_array(value, name) for name, value in CONSTANTS.items() if name in used]
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 5, 4])
    end = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "graph", [entry], [end], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


SEQUENCE = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))


def collecting() -> onnx.GraphProto:
    """The body of a Loop that puts a row of `x` at the end of the sequence it carries."""
    rounds = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    going = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("go", "going")]
    carried = [helper.make_value_info(name, SEQUENCE) for name in ("held", "longer")]
    nodes = [
        node("Identity", ["go"], ["going"]),
        node("Gather", ["x", "i"], ["row"], axis=1),
        node("SequenceInsert", ["held", "row"], ["longer"]),
    ]
    return helper.make_graph(nodes, "body", [rounds, going[0], carried[0]], [going[1], carried[1]])


def adding() -> onnx.GraphProto:
    """The body of a Loop that adds the parts of a sequence around it."""
    rounds = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    going = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("go", "going")]
    carried = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("sum", "more")]
    nodes = [
        node("Identity", ["go"], ["going"]),
        node("SequenceAt", ["s", "i"], ["part"]),
        node("Add", ["sum", "part"], ["more"]),
    ]
    return helper.make_graph(nodes, "body", [rounds, going[0], carried[0]], [going[1], carried[1]])


def halved() -> onnx.GraphProto:
    """The body of a SequenceMap."""
    inner, half = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("part", "half"))
    return helper.make_graph([node("Softmax", ["part"], ["half"])], "body", [inner], [half])


FORMS = {
    "rows that a loop collects": [
        node("SequenceEmpty", [], ["s"]),
        node("Loop", ["two", "", "s"], ["t"], body=collecting()),
        node("ConcatFromSequence", ["t"], ["y"], axis=1, new_axis=1),
    ],
    "a loop for each part": [
        node("SplitToSequence", ["x"], ["s"], axis=1),
        node("SequenceLength", ["s"], ["length"]),
        node("SequenceAt", ["s", "last"], ["a"]),
        node("Loop", ["length", "", "a"], ["y"], body=adding()),
    ],
    "each part": [
        node("SplitToSequence", ["x", "two"], ["s"], axis=1),
        node("SequenceMap", ["s"], ["t"], body=halved()),
        node("ConcatFromSequence", ["t"], ["y"], axis=1),
    ],
    "parts of a size": [
        node("SplitToSequence", ["x", "two"], ["s"], axis=1),
        node("SequenceAt", ["s", "last"], ["a"]),
        node("SequenceAt", ["s", "first"], ["b"]),
        node("Concat", ["b", "a", "b"], ["y"], axis=1),
    ],
    "parts of sizes": [
        node("SplitToSequence", ["x", "sizes"], ["s"], axis=-2),
        node("SequenceAt", ["s", "last"], ["a"]),
        node("Tanh", ["a"], ["b"]),
        node("SequenceErase", ["s", "last"], ["t"]),
        node("SequenceInsert", ["t", "b", "first"], ["u"]),
        node("ConcatFromSequence", ["u"], ["y"], axis=1),
    ],
    "rows, stacked on another axis": [
        node("SplitToSequence", ["x"], ["s"], axis=1, keepdims=0),
        node("SequenceErase", ["s"], ["t"]),
        node("ConcatFromSequence", ["t"], ["y"], axis=2, new_axis=1),
    ],
    "put together": [
        node("Relu", ["x"], ["a"]),
        node("SequenceEmpty", [], ["s"]),
        node("SequenceInsert", ["s", "x"], ["t"]),
        node("SequenceInsert", ["t", "a"], ["u"]),
        node("SequenceConstruct", ["a", "x"], ["v"]),
        node("SequenceLength", ["v"], ["length"]),
        node("Cast", ["length"], ["number"], to=TensorProto.FLOAT),
        node("ConcatFromSequence", ["u"], ["b"], axis=1),
        node("Mul", ["b", "number"], ["y"]),
    ],
}


@pytest.mark.parametrize("form", FORMS)
def test_sequences_are_written_out(form: str) -> None:
    model = build(FORMS[form])
    normal, inputs = (
        normalise(copy(model)),
        np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32),
    )
    assert not [each.op_type for each in normal.graph.node if "Sequence" in each.op_type]
    expected = run_onnx(model, inputs)
    assert_close(run_onnx(normal, inputs), expected)
    assert_close(run_written(make_plan(normal), inputs), expected)


def test_a_sequence_whose_place_is_computed_stays() -> None:
    nodes = [
        node("SplitToSequence", ["x", "two"], ["s"], axis=1),
        node("ReduceMax", ["x"], ["most"], keepdims=0),
        node("Cast", ["most"], ["place"], to=TensorProto.INT64),
        node("SequenceAt", ["s", "place"], ["y"]),
    ]
    normal = normalise(build(nodes))
    assert [each.op_type for each in normal.graph.node][-1] == "SequenceAt"
    assert "SplitToSequence" in [each.op_type for each in normal.graph.node]


@pytest.mark.parametrize(
    "rearranged",
    [
        node("SequenceErase", ["s", "beyond"], ["t"]),
        node("SequenceInsert", ["s", "x", "beyond"], ["t"]),
        node("SequenceAt", ["s", "beyond"], ["t"]),
    ],
    ids=lambda rearranged: rearranged.op_type,
)
def test_a_sequence_stays_whose_place_is_beyond_its_length(rearranged: onnx.NodeProto) -> None:
    nodes = [node("SplitToSequence", ["x", "two"], ["s"], axis=1), rearranged]
    if rearranged.op_type == "SequenceAt":
        nodes.append(node("Identity", ["t"], ["y"]))
    else:
        nodes.append(node("ConcatFromSequence", ["t"], ["y"], axis=1))
    normal = normalise(build(nodes))
    assert rearranged.op_type in [each.op_type for each in normal.graph.node]


def test_an_output_that_is_a_sequence_is_named_with_the_remedy():
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])
    end = helper.make_tensor_sequence_value_info("parts", TensorProto.FLOAT, None)
    made = helper.make_node("SequenceConstruct", ["x", "x"], ["parts"])
    graph = helper.make_graph([made], "graph", [entry], [end])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(
        UnsupportedModelError, match="'parts' is no tensor but a sequence; end the network before"
    ):
        normalise(model)
