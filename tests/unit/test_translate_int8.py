"""Operators in a quantised network: all integers, and the same classes in both runtimes."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from tests.networks import FORMATS, Graph, fitted, quantise, run_onnx, run_tflite, task, tensorflow

INT = np.int64
PADS = [1, 1, 1, 1]


def doubled(graph: Graph, image: str) -> str:
    kernel, bias = 0.3 * graph.weights(8, 8, 3, 3), graph.weights(8)
    options = {"strides": [2, 2], "pads": PADS, "output_padding": [1, 1]}
    return graph.add("Relu", graph.add("ConvTranspose", image, kernel, bias, **options))


def twice(graph: Graph, image: str) -> str:
    kernel = 0.3 * graph.weights(8, 8, 2, 2)
    return graph.add("Relu", graph.add("ConvTranspose", image, kernel, strides=[2, 2]))


def swapped(graph: Graph, image: str) -> str:
    first = graph.add("Split", image, axis=1)
    graph.nodes[-1].output.append("second")
    return graph.add("Concat", "second", first, axis=1)


def shuffled(graph: Graph, image: str) -> str:
    split = graph.add("Reshape", image, np.array([0, 2, 4, 8, 8], INT))
    mixed = graph.add("Transpose", split, perm=[0, 2, 1, 3, 4])
    return graph.add("Reshape", mixed, np.array([0, 8, 8, 8], INT))


def strided(graph: Graph, image: str) -> str:
    kernel = 0.3 * graph.weights(8, 8, 3, 3)
    options = {"strides": [2, 2], "dilations": [2, 2], "pads": [2] * 4}
    return graph.add("Relu", graph.add("Conv", image, kernel, **options))


def pooled(graph: Graph, image: str) -> str:
    signed = graph.add("Conv", image, 0.3 * graph.weights(8, 8, 1, 1))
    return graph.add("MaxPool", signed, kernel_shape=[3, 3], strides=[2, 2], pads=PADS)


def bordered(graph: Graph, image: str) -> str:
    return graph.add("Pad", image, np.array([0, 0, 1, 1, 0, 0, 1, 1], INT), mode="reflect")


def leaking(graph: Graph, image: str) -> str:
    signed = graph.add("Conv", image, 0.3 * graph.weights(8, 8, 1, 1))
    return graph.add("PRelu", signed, graph.weights(8, 1, 1))


BODIES = [doubled, twice, swapped, shuffled, strided, pooled, bordered, leaking]


@pytest.mark.parametrize("body", BODIES)
def test_quantised_operators_stay_integers_and_agree(body):
    tensorflow()
    from edgepress.convert.nhwc import convert

    graph = Graph(2, 8, 8)
    scaled = graph.add("Div", "input", np.float32(128))
    stem = graph.add("Conv", scaled, 0.3 * graph.weights(8, 2, 3, 3), pads=PADS)
    image = body(graph, graph.add("Relu", stem))
    last = graph.add("Conv", image, 0.3 * graph.weights(8, 8, 1, 1))
    model = quantise(
        fitted(graph, graph.add("Flatten", graph.add("GlobalAveragePool", last))), FORMATS["int8"]
    )
    content = convert(model, True, np.zeros(0))
    inputs = task(64, seed=3).inputs()
    outputs, codes = run_tflite(content, inputs)
    expected = run_onnx(model, inputs)
    assert codes is not None
    assert (outputs.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.98
    assert not has_floats(content)


def has_floats(content: bytes) -> bool:
    interpreter = Interpreter(model_content=content, num_threads=1)
    return np.float32 in {detail["dtype"] for detail in interpreter.get_tensor_details() if detail["name"]}


def weighed(graph: Graph, image: str, *, channels: int = 8) -> str:
    """A convolution whose outputs have both signs."""
    return graph.add("Conv", image, 0.4 * graph.weights(channels, 8, 1, 1), 0.1 * graph.weights(channels))


def joined(graph: Graph, image: str) -> str:
    """Operands of unlike ranges, one of them clipped by its own zero point alone."""
    parts = (weighed(graph, image, channels=4), graph.add("Relu", weighed(graph, image, channels=4)))
    return graph.add("Concat", *parts, axis=1)


def twice_joined(graph: Graph, image: str) -> str:
    pooled = graph.add("MaxPool", weighed(graph, image), kernel_shape=[3, 3], pads=PADS)
    halves = graph.add("Clip", weighed(graph, image, channels=4), np.float32(0), np.float32(6)), pooled
    whole = graph.add("Concat", *halves, axis=1)
    return graph.add("Conv", graph.add("Concat", whole, image, axis=1), 0.2 * graph.weights(8, 20, 1, 1))


def pooled_first(graph: Graph, image: str) -> str:
    return graph.add("Relu", graph.add("MaxPool", weighed(graph, image), kernel_shape=[2, 2]))


def gated(graph: Graph, image: str) -> str:
    gate = weighed(graph, graph.add("GlobalAveragePool", image))
    return graph.add("Mul", image, graph.add("HardSigmoid", gate, alpha=1 / 6))


def hard(graph: Graph, image: str) -> str:
    return graph.add("HardSigmoid", graph.add("MaxPool", image, kernel_shape=[1, 1]))


def summed(graph: Graph, image: str) -> str:
    return graph.add("Sum", image, weighed(graph, image), weighed(graph, image))


def squared(graph: Graph, image: str) -> str:
    return graph.add("Pow", image, np.float32(2))


def larger(graph: Graph, image: str) -> str:
    return graph.add("Max", image, weighed(graph, image))


def sigmoid_linear(graph: Graph, image: str) -> str:
    return graph.add("Mul", image, graph.add("Sigmoid", image))


def averaged(graph: Graph, image: str) -> str:
    return graph.add("AveragePool", image, kernel_shape=[3, 3], pads=PADS)


def enlarged(graph: Graph, image: str) -> str:
    scales = np.array([1, 1, 2, 2], np.float32)
    return graph.add(
        "Resize", image, None, scales, mode="linear", coordinate_transformation_mode="half_pixel"
    )


def normalised(graph: Graph, image: str) -> str:
    return graph.add("InstanceNormalization", image, graph.weights(8, low=0.5), graph.weights(8))


def divided(graph: Graph, image: str) -> str:
    return graph.add(
        "Div", image, graph.add("Add", graph.add("Sigmoid", weighed(graph, image)), np.float32(0.5))
    )


def hard_swish(graph: Graph, image: str) -> str:
    return graph.add("HardSwish", weighed(graph, image))


def scaled_by_channel(graph: Graph, image: str) -> str:
    """A factor that a layer takes, then a factor and a summand that none does."""
    inner = graph.add("Mul", weighed(graph, image), graph.weights(8, 1, 1, low=0.5))
    outer = graph.add("Mul", graph.add("Relu", inner), graph.weights(8, 1, 1))
    return graph.add("Add", outer, graph.weights(8, 1, 1))


def exponential(graph: Graph, image: str) -> str:
    return graph.add("Elu", image)


INTEGERS = [
    joined, twice_joined, pooled_first, gated, hard, summed, squared, larger, sigmoid_linear, averaged,
    enlarged, leaking, hard_swish, scaled_by_channel,
]  # fmt: skip
FLOATS = [normalised, divided, exponential]


@pytest.mark.parametrize("body", [*INTEGERS, *FLOATS])
def test_the_runtimes_are_one_step_apart_at_most(body):
    tensorflow()
    from edgepress.convert.nhwc import convert

    graph = Graph(2, 8, 8)
    scaled = graph.add("Div", "input", np.float32(128))
    image = graph.add("Conv", scaled, 0.3 * graph.weights(8, 2, 3, 3), pads=PADS)
    made = body(graph, image)
    if body in (*FLOATS, leaking):
        graph.add("Conv", made, np.eye(8, dtype=np.float32)[:, :, None, None])
    model, inputs = graph.model(), task(64, seed=3).inputs()
    quantised = quantise(model, FORMATS["int8"])
    content = convert(quantised, True, np.zeros(0))
    outputs, _ = run_tflite(content, inputs)
    (detail,) = Interpreter(model_content=content).get_output_details()
    steps = np.abs(np.moveaxis(outputs, -1, 1) - run_onnx(quantised, inputs)) / detail["quantization"][0]
    assert steps.max() <= 1.01 and steps.mean() <= 0.1
    assert has_floats(content) == (body in FLOATS)
    error = np.abs(np.moveaxis(outputs, -1, 1) - run_onnx(model, inputs)) / detail["quantization"][0]
    assert error.mean() < 2


def test_a_matrix_too_large_for_the_converter_is_cut_into_parts_that_compute_the_same(monkeypatch):
    tensorflow()
    from edgepress.convert.nhwc import convert
    from edgepress.translate import plan

    graph = Graph(2, 8, 8)
    hidden = graph.add(
        "Gemm", graph.add("Flatten", "input"), 0.01 * graph.weights(128, 20), graph.weights(20)
    )
    model = quantise(fitted(graph, graph.add("Relu", hidden)), FORMATS["int8"])
    inputs = task(64, seed=3).inputs()
    whole = run_tflite(convert(model, True, np.zeros(0)), inputs)[1]
    monkeypatch.setattr(plan, "LARGEST_MATRIX", 1000)
    cut = convert(model, True, np.zeros(0))
    assert [node["op_name"] for node in Interpreter(model_content=cut)._get_ops_details()].count(
        "CONV_2D"
    ) == 4
    np.testing.assert_array_equal(run_tflite(cut, inputs)[1], whole)
