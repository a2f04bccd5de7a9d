"""What the translator cannot take is named before any work, all of it at once."""

import numpy as np
import onnx
import pytest

from edgepress.config.convert import Nhwc
from edgepress.convert.registry import convert_single
from edgepress.errors import ConfigError, UnsupportedModelError
from edgepress.standalone.convert import convert
from edgepress.standalone.request import Request
from edgepress.translate.planning import make_plan
from tests.networks import Graph


def without_translation() -> onnx.ModelProto:
    """Two operators that have none, and behind the first a node of a form that is not taken."""
    graph = Graph(4, 6, 6)
    graph.add("RandomUniformLike", "input", name="noise")
    flat = graph.add("Reshape", graph.last, np.array([-1, 2]))
    graph.add("Bernoulli", flat, name="drawn")
    graph.add("Dropout", graph.last, np.float32(0.5), np.array(True), name="dropped")
    graph.add("Relu")
    return graph.model()


def of_a_form_that_is_not_taken() -> onnx.ModelProto:
    """Operators that are known, with what they need computed."""
    graph = Graph(4, 6, 6)
    kernel = graph.add("Reshape", "input", np.array([-1, 4, 3, 3]))
    left = graph.add("Conv", "input", kernel, name="left")
    right = graph.add(
        "BatchNormalization", "input", *(graph.weights(4) for _ in range(3)), "input", name="right"
    )
    graph.add("Concat", left, right, axis=1)
    graph.nodes[2].input[4] = graph.add("ReduceMean", "input", axes=[0, 2, 3], keepdims=0)
    graph.nodes.insert(2, graph.nodes.pop())
    graph.last = graph.nodes[-1].output[0]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            "graph",
            [graph.entry],
            [onnx.helper.make_tensor_value_info(graph.last, onnx.TensorProto.FLOAT, None)],
            graph.constants,
        ),
        opset_imports=[onnx.helper.make_opsetid("", graph.opset)],
    )
    return onnx.shape_inference.infer_shapes(model)


def test_all_nodes_without_a_translation_are_named_at_once():
    with pytest.raises(UnsupportedModelError) as caught:
        make_plan(without_translation())
    message = str(caught.value)
    assert "'noise' (RandomUniformLike): it has no translation; node 'drawn' (Bernoulli)" in message
    assert "; node 'dropped' (Dropout): it is in training mode" in message
    assert "\n" not in message and message.count("convert=none") == 1


def test_all_nodes_of_a_form_that_is_not_taken_are_named_at_once():
    with pytest.raises(UnsupportedModelError) as caught:
        make_plan(of_a_form_that_is_not_taken())
    message = str(caught.value)
    assert (
        "node 'left' (Conv): its input 1 " in message
        and "; node 'right' (BatchNormalization): its input 4" in message
    )
    assert message.count("cannot take") == 1 and "\n" not in message


def test_the_command_says_so_before_it_quantises(tmp_path):
    onnx.save(without_translation(), tmp_path / "model.onnx")
    np.save(tmp_path / "inputs.npy", np.zeros((4, 4, 6, 6), np.float32))
    said: list[str] = []
    request = Request(
        tmp_path / "model.onnx", tmp_path / "model.tflite", quant="int8", calibration=tmp_path / "inputs.npy"
    )
    with pytest.raises(
        UnsupportedModelError, match=r"'noise' \(RandomUniformLike\).*'drawn' \(Bernoulli\).*--outputs"
    ):
        convert(request, said.append)
    assert [line.split()[0] for line in said] == ["reading"]
    assert not (tmp_path / "model.tflite").exists()


def test_the_pipeline_says_so():
    with pytest.raises(UnsupportedModelError, match=r"'noise' \(RandomUniformLike\).*'drawn' \(Bernoulli\)"):
        convert_single(without_translation(), Nhwc("auto"), np.zeros((0,), np.float32))


def test_types_of_inputs_that_a_runtime_does_not_take(tmp_path):
    refused = {
        onnx.TensorProto.UINT64: (
            UnsupportedModelError,
            "input 'x' is uint64, which TFLite has no kernels for",
        ),
        onnx.TensorProto.BFLOAT16: (ConfigError, "'x' is bfloat16, of which .* go without --check"),
    }
    for kind, (error, message) in refused.items():
        ends = [onnx.helper.make_tensor_value_info(name, kind, [3]) for name in ("x", "y")]
        nodes = [onnx.helper.make_node("Identity", ["x"], ["y"])]
        made = onnx.helper.make_graph(nodes, "graph", ends[:1], ends[1:])
        opset = onnx.helper.make_opsetid("", 15)
        model = onnx.helper.make_model(made, opset_imports=[opset], ir_version=8)
        onnx.save(model, tmp_path / "model.onnx")
        request = Request(tmp_path / "model.onnx", tmp_path / "model.tflite", check=True)
        with pytest.raises(error, match=message):
            convert(request, print)
