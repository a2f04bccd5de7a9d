"""Networks that do not classify: U-Nets, whose output is an image, and detectors with several outputs."""

import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgepress.config.convert import Nhwc
from edgepress.convert.registry import convert_single
from edgepress.graph.normalise.normalise import normalise
from edgepress.standalone.convert import convert
from edgepress.standalone.request import Request
from edgepress.translate.planning import plan_graph
from tests.networks import Graph, assert_close, inputs_for, run_onnx, run_tflite, tensorflow


def unet(batch: str | int = "batch") -> onnx.ModelProto:
    """Two levels, with skips around the lower one; a class for each pixel."""
    graph = Graph(3, 16, 16, batch=batch)
    conv = {"pads": [1, 1, 1, 1]}
    graph.add("Conv", "input", graph.weights(8, 3, 3, 3), graph.weights(8), **conv)
    upper = graph.add("Relu")
    graph.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    graph.add("Conv", graph.last, graph.weights(12, 8, 3, 3), graph.weights(12), **conv)
    graph.add("Relu")
    grown = graph.add(
        "ConvTranspose", graph.last, graph.weights(12, 8, 2, 2), graph.weights(8), strides=[2, 2]
    )
    graph.add("Concat", grown, upper, axis=1)
    graph.add("Conv", graph.last, graph.weights(5, 16, 3, 3), graph.weights(5), **conv)
    return graph.model()


def detector() -> onnx.ModelProto:
    """Two scales with four anchors; for each anchor the scores of three classes and a box."""
    graph = Graph(3, 16, 16)
    scales = [graph.add("Conv", "input", graph.weights(8, 3, 3, 3), pads=[1, 1, 1, 1])]
    scales.append(graph.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2]))
    ends = {}
    for name, size in (("scores", 3), ("boxes", 4)):
        parts = []
        for scale, side in zip(scales, (16, 8), strict=True):
            graph.add("Conv", scale, graph.weights(4 * size, 8, 1, 1))
            graph.add("Reshape", graph.last, np.array([-1, 4, size, side, side]))
            graph.add("Transpose", graph.last, perm=[0, 3, 4, 1, 2])
            parts.append(graph.add("Reshape", graph.last, np.array([-1, 4 * side * side, size])))
        ends[name] = graph.add("Concat", *parts, axis=1, name=name)
    graph.nodes.append(onnx.helper.make_node("Sigmoid", [ends["scores"]], ["scores"], "last"))
    graph.nodes[-2].output[0] = "boxes"
    model = graph.model("scores")
    model.graph.output.append(onnx.helper.make_tensor_value_info("boxes", 1, ["batch", 1280, 4]))
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.mark.parametrize("batch", ["batch", 1])
def test_a_unet_gives_an_image_in_nhwc_without_a_transpose(batch):
    model = normalise(unet(batch))
    plan = plan_graph(model)
    assert all(step.op != "transpose" for step in plan.steps)
    assert plan.output_orders == ((0, 2, 3, 1),)
    tensorflow()
    inputs = inputs_for(model)
    actual, _ = run_tflite(bytes(convert_single(model, Nhwc("auto"), inputs[:0])), inputs)
    assert_close(np.moveaxis(actual, -1, 1), run_onnx(model, inputs))


def test_a_detector_keeps_the_names_and_order_of_its_outputs_and_needs_no_transpose(tmp_path):
    onnx.save(detector(), tmp_path / "model.onnx")
    outcome = convert(Request(tmp_path / "model.onnx", tmp_path / "model.tflite", check=True), print)
    assert outcome.check is not None and outcome.check.passed
    assert {name: signal.snr_db > 100 for name, signal in outcome.check.outputs.items()} == {
        "scores": True, "boxes": True,
    }  # fmt: skip
    assert outcome.model.transpose_ops == 0
    ends = Interpreter(str(tmp_path / "model.tflite")).get_output_details()
    assert [(end["name"], end["shape"].tolist()) for end in ends] == [
        ("scores", [1, 1280, 3]), ("boxes", [1, 1280, 4]),
    ]  # fmt: skip
