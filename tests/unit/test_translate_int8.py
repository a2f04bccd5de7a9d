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
    floats = np.float32 in {detail["dtype"] for detail in tensors(content)}
    assert floats == (body is leaking), "onnxruntime leaves PRelu in floats, and so does the translation"


def tensors(content: bytes) -> list[dict]:
    interpreter = Interpreter(model_content=content, num_threads=1)
    return [detail for detail in interpreter.get_tensor_details() if detail["name"]]
