"""What TFLite has no operator for becomes a custom one, on request alone."""

import numpy as np
import onnx
import pytest
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers
from onnx import TensorProto, helper, numpy_helper

from edgepress.devices.program.answers import RequestError
from edgepress.devices.program.models import Kernels
from edgepress.devices.program.tensors import blame_model
from edgepress.devices.program.tflite import TfliteModel
from edgepress.errors import ConfigError, UnsupportedModelError
from edgepress.inspection.inspect import describe, inspect
from edgepress.standalone.convert import convert
from edgepress.standalone.request import Request

ATTRIBUTES = {
    "alpha": 0.5,
    "axes": [1, 2],
    "mode": "linear",
    "names": ["p", "q"],
    "table": numpy_helper.from_array(np.arange(3, dtype=np.float32)),
}


def info(name, shape=None, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def network(op="Fold", domain="com.example", opset=11, declared=True, batch="batch"):
    """A convolution, the operator with an operand left out and two results, and a Relu."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4),
        helper.make_node(op, ["a", "", "k"], ["b", "c"], "fold", domain=domain, **ATTRIBUTES),
        helper.make_node("Relu", ["b"], ["y"]),
    ]
    held = {"w": np.ones((4, 3, 3, 3), np.float32), "k": np.array([1, 2], np.float32)}
    graph = helper.make_graph(
        nodes,
        "network",
        [info("x", [batch, 3, 8, 8])],
        [info("y"), info("c", [batch], TensorProto.INT64)],
        [numpy_helper.from_array(values, name) for name, values in held.items()],
        value_info=[info("b", [batch, 4, 8, 8])] if declared else [],
    )
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def single(op, shape, made, **attributes):
    node = helper.make_node(op, ["x"], ["y"], "only", **attributes)
    graph = helper.make_graph([node], "network", [info("x", shape)], [info("y", made)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def request(model, folder, **options):
    onnx.save(model, folder / "model.onnx")
    return Request(folder / "model.onnx", folder / "model.tflite", **options)


def custom_operator(path):
    """The one custom operator: its name, the names and shapes of its operands and results, its options."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    (graph,) = model.subgraphs
    found = [(op, model.operatorCodes[op.opcodeIndex]) for op in graph.operators]
    ((operator, code),) = [(op, code) for op, code in found if code.customCode]
    assert code.builtinCode == schema.BuiltinOperator.CUSTOM
    shapes = [
        [None if index < 0 else graph.tensors[index].shape.tolist() for index in ends]
        for ends in (operator.inputs, operator.outputs)
    ]
    return code.customCode.decode(), *shapes, flexbuffers.Loads(bytearray(operator.customOptions))


@pytest.mark.parametrize("batch", ["batch", 1])
@pytest.mark.parametrize(
    ("op", "domain", "name"),
    [("Fold", "com.example", "com.example.Fold"), ("Unheard", "", "ai.onnx.Unheard")],
)
def test_it_has_the_nodes_name_operands_and_attributes(tmp_path, op, domain, name, batch):
    asked = request(network(op, domain, batch=batch), tmp_path, allow_custom=True)
    assert f"needs custom operators: {name}" in convert(asked, print).text()
    called, taken, made, options = custom_operator(asked.target)
    assert (called, taken, made) == (name, [[1, 4, 8, 8], None, [2]], [[1, 4, 8, 8], [1]])
    table = options.pop("table")
    assert options == {key: value for key, value in ATTRIBUTES.items() if key != "table"}
    assert (table["type"], table["shape"]) == ("float32", [3])
    assert np.frombuffer(table["data"], np.float32).tolist() == [0, 1, 2]


def test_an_onnx_operator_that_tflite_lacks(tmp_path):
    asked = request(single("RandomNormalLike", [1, 3], [1, 3]), tmp_path, allow_custom=True)
    convert(asked, print)
    assert custom_operator(asked.target)[:3] == ("ai.onnx.RandomNormalLike", [[1, 3]], [[1, 3]])


def test_without_the_option_it_is_refused_and_the_option_named(tmp_path):
    for model, named in (
        (network(), "com.example.Fold"),
        (single("RandomNormalLike", [1, 3], [1, 3]), "'only' .RandomNormalLike."),
    ):
        with pytest.raises(UnsupportedModelError, match=rf"{named}.*--allow-custom"):
            convert(request(model, tmp_path), print)


def test_a_shape_that_nothing_tells_is_named(tmp_path):
    asked = request(network(declared=False), tmp_path, allow_custom=True)
    with pytest.raises(UnsupportedModelError, match="the shape of its output b is missing"):
        convert(asked, print)


def test_it_is_not_compared_and_written_all_the_same(tmp_path):
    asked = request(network(), tmp_path, allow_custom=True, check=True)
    assert "not compared: LiteRT by itself cannot run it" in convert(asked, print).text()
    assert asked.target.exists()


def test_what_has_to_run_it_is_refused(tmp_path):
    (tmp_path / "inputs.npy").touch()
    with pytest.raises(ConfigError, match="--allow-custom is for --converter nhwc without calibration"):
        request(network(), tmp_path, allow_custom=True, quant="int8", calibration=tmp_path / "inputs.npy")


@pytest.mark.parametrize(
    ("name", "told", "fault"),
    [
        (
            "com.example.Fold",
            "needs custom operators: com.example.Fold",
            "the custom operator com.example.Fold,",
        ),
        ("FlexErfinv", "needs the Flex delegate: FlexErfinv", "the Flex delegate,"),
    ],
)
def test_reports_and_devices_say_what_a_file_needs(tmp_path, monkeypatch, name, told, fault):
    monkeypatch.setattr("edgepress.translate.ops.custom.custom_name", lambda op: name)
    asked = request(network(), tmp_path, allow_custom=True)
    convert(asked, print)
    assert told in inspect(asked.target).notes
    assert told in describe(asked.target, as_json=False)
    with (
        pytest.raises(RequestError, match=rf"it needs {fault} which this runtime does not have"),
        blame_model(),
    ):
        TfliteModel(litert, str(asked.target), 1, Kernels())
