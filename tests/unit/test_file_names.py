"""A `.tflite` speaks the ONNX network's language: signature, tensors and operators."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx import TensorProto, helper, numpy_helper

from edgepress.config.convert import Nhwc
from edgepress.convert.cutting import read_cuts
from edgepress.convert.flatbuffer import read_tflite
from edgepress.convert.registry import convert_single
from edgepress.convert.tflite_model import Graph as Read
from edgepress.graph.normalise.normalise import normalise
from edgepress.inspection.inspect import describe
from edgepress.profiling.rows import rows
from edgepress.profiling.times import ModelTimes, OperatorTime
from edgepress.standalone.convert import convert
from edgepress.standalone.request import Request
from tests.networks import FORMATS, Graph, quantise

NONE = np.zeros((0,), np.float32)


def image_network() -> Graph:
    """Two convolutions with activations, one of which needs padding of its own, a pool and a dense layer."""
    graph = Graph(2, 8, 8)
    graph.add("Conv", "input", graph.weights(4, 2, 3, 3), graph.weights(4), name="/body/first/Conv")
    graph.add("Relu", name="/body/first/Relu")
    graph.add("Conv", graph.last, graph.weights(4, 4, 3, 3), pads=[1, 1, 1, 1], strides=[2, 2], name="second")
    graph.add("HardSwish", name="swish")
    graph.add("Flatten", graph.add("GlobalAveragePool", name="pool"), name="flat")
    graph.add("Gemm", graph.last, graph.weights(4, 3), graph.weights(3), name="dense")
    return graph


def read(content: bytes, folder: Path) -> Read:
    path = folder / "read.tflite"
    path.write_bytes(content)
    return read_tflite(path).graphs[0]


def written(model: onnx.ModelProto, folder: Path) -> Read:
    return read(bytes(convert_single(model, Nhwc("auto"), NONE)), folder)


def in_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    return quantise(model, FORMATS["int8"])


def test_operators_name_all_onnx_nodes_that_they_do_the_work_of(tmp_path: Path) -> None:
    graph = written(image_network().model(), tmp_path)
    found = [(each.name, each.nodes) for each in graph.operators]
    assert found == [
        ("CONV_2D", "/body/first/Conv;/body/first/Relu"),
        ("PAD", "second;.pad"),
        ("CONV_2D", "second"),
        ("HARD_SWISH", "swish"),
        ("MEAN", "pool"),
        ("FULLY_CONNECTED", "dense"),
    ]
    assert graph.tensors[graph.outputs[0]].name == "dense_out"
    assert [graph.tensors[each.outputs[0]].name for each in graph.operators[:-1]] == [
        n for _, n in found[:-1]
    ]


def test_names_are_those_of_float32_in_every_format(tmp_path: Path) -> None:
    model = image_network().model()
    plain = {part for each in written(model, tmp_path).operators for part in each.nodes.split(";")}
    graph = written(in_int8(model), tmp_path)
    appended = [t.name for t in graph.tensors if "uantize" in t.name or "quantized" in t.name]
    assert appended == []
    nodes = [each.nodes for each in graph.operators]
    assert {"/body/first/Conv", "second", "pool", "dense"} <= set(nodes)
    assert {"/body/first/Conv", "second", "pool", "dense"} <= plain
    assert (graph.tensors[graph.inputs[0]].name, graph.tensors[graph.outputs[0]].name) == (
        "input",
        "dense_out",
    )


def test_computed_tensors_have_names_of_their_own(tmp_path: Path) -> None:
    graph = Graph(6, 4)
    lstm = [graph.weights(1, 20, 4), graph.weights(1, 20, 5), graph.weights(1, 40)]
    graph.add("Transpose", "input", perm=[1, 0, 2])
    graph.add("LSTM", graph.last, *lstm, hidden_size=5, name="memory")
    found = written(graph.model("memory_out"), tmp_path)
    computed = [tensor.name for tensor in found.tensors if not tensor.constant]
    assert len(computed) > 20
    assert len(set(computed)) == len(computed)
    assert sum(name.startswith("memory;.") for name in computed) > 15


ODD = ["input.1", "images:0", "a b/ü 画像", "2;3", '"quoted"\\', "_under", "serving_default", "-"]


@pytest.mark.parametrize("name", ODD)
def test_the_signature_has_the_networks_own_names_of_any_characters(tmp_path: Path, name: str) -> None:
    graph = Graph(2, 8, 8)
    graph.add("Conv", "input", graph.weights(4, 2, 3, 3))
    graph.add("Relu")
    model = graph.model()
    model.graph.input[0].name = model.graph.node[0].input[0] = name
    model.graph.output[0].name = model.graph.node[1].output[0] = f"{name}>"
    onnx.save(model, tmp_path / "model.onnx")
    convert(Request(tmp_path / "model.onnx", tmp_path / "model.tflite", check=True), lambda _: None)
    interpreter = Interpreter(str(tmp_path / "model.tflite"))
    runner = interpreter.get_signature_runner()
    assert (list(runner.get_input_details()), list(runner.get_output_details())) == ([name], [f"{name}>"])
    given = np.random.default_rng(0).normal(size=(1, 8, 8, 2)).astype(np.float32)
    assert np.ptp(runner(**{name: given})[f"{name}>"]) > 0
    assert [interpreter.get_input_details()[0]["name"], interpreter.get_output_details()[0]["name"]] == [
        name, f"{name}>",
    ]  # fmt: skip
    assert json.loads(describe(tmp_path / "model.tflite", as_json=True))["inputs"][0]["name"] == name


def several_ends() -> onnx.ModelProto:
    """Outputs that are computed, an input as it is, a constant, and one tensor under two names."""
    info = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Add", ["left", "right"], ["sum"], "plus"),
        helper.make_node("Identity", ["sum"], ["again"], "same"),
        helper.make_node("Identity", ["left"], ["through"], "pass"),
        helper.make_node("Identity", ["fixed"], ["constant"], "kept"),
        helper.make_node("Relu", ["sum"], ["positive"], "relu"),
    ]
    names = ["positive", "sum", "again", "through", "constant"]
    graph = helper.make_graph(
        nodes,
        "ends",
        [info(name, TensorProto.FLOAT, [1, 3]) for name in ("right", "left")],
        [info(name, TensorProto.FLOAT, [1, 3]) for name in names],
        [numpy_helper.from_array(np.array([[5, 6, 7]], np.float32), "fixed")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def test_several_inputs_and_outputs_keep_their_names_and_values(tmp_path: Path) -> None:
    content = bytes(convert_single(several_ends(), Nhwc("auto"), NONE))
    runner = Interpreter(model_content=content).get_signature_runner()
    left, right = np.array([[1, -2, 3]], np.float32), np.array([[-4, 1, 0.5]], np.float32)
    assert sorted(runner.get_input_details()) == ["left", "right"]
    found = runner(left=left, right=right)
    expected = {
        "sum": left + right, "again": left + right, "positive": np.maximum(left + right, 0), "through": left,
        "constant": np.array([[5, 6, 7]]),
    }  # fmt: skip
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
    names = [detail["name"] for detail in Interpreter(model_content=content).get_output_details()]
    assert names == ["positive", "sum", "again", "through", "constant"]
    graph = read(content, tmp_path)
    assert {"plus", "relu"} <= {each.nodes for each in graph.operators}


def test_nodes_without_a_name_of_their_own_are_called_by_what_they_make() -> None:
    graph = Graph(2, 8, 8)
    graph.add("Relu", "input", name="same")
    graph.add("Abs", name="second")
    graph.add("Neg")
    model = graph.model()
    model.graph.node[1].name, model.graph.node[2].name = "same", ""
    assert [node.name for node in normalise(model).graph.node] == ["same", "second_out", "neg_2_out"]


def test_inspect_lists_operators_with_their_nodes(tmp_path: Path) -> None:
    model = image_network().model()
    onnx.save(model, tmp_path / "model.onnx")
    convert_single(model, Nhwc("auto"), NONE).save(tmp_path / "model.tflite")
    said = describe(tmp_path / "model.tflite", as_json=False, operators=True).splitlines()
    assert said[-6].split() == ["/body/first/Conv;/body/first/Relu", "0", "CONV_2D", "1×6×6×4", "float32"]
    assert said[-1].split() == ["dense", "5", "FULLY_CONNECTED", "1×3", "float32"]
    assert not any("0 CONV_2D" in line for line in describe(tmp_path / "model.tflite", False).splitlines())
    nodes = json.loads(describe(tmp_path / "model.onnx", as_json=True))["operators"]
    told = {part for each in read_tflite(tmp_path / "model.tflite").graphs[0].operators
            for part in each.nodes.split(";") if not part.startswith(".")}  # fmt: skip
    assert told <= {each["nodes"] for each in nodes}
    assert nodes[-1] == {"operator": "Gemm", "nodes": "dense", "shape": ["batch", 3], "dtype": "float32"}


def test_a_profile_tells_the_nodes(tmp_path: Path) -> None:
    convert_single(image_network().model(), Nhwc("auto"), NONE).save(tmp_path / "model.tflite")
    cuts = read_cuts(tmp_path / "model.tflite")
    assert cuts.onnx_names
    times = ModelTimes(
        tuple(OperatorTime(step.operator, step.name, step.shape, 1.0, 0.1, False) for step in cuts.steps), 6.0
    )
    layers = [row.layer for row in rows(times, None)]
    assert layers == ["01 /body/first/Conv + Relu", "02 second", "03 swish", "04 pool", "05 dense"]
