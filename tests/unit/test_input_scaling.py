"""Normalisation of raw inputs: what is left of it in a file, and what the network then computes."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from edgepress.graph.input_scaling import without_scaling
from edgepress.graph.view import initializers
from tests.networks import FORMATS, Graph, quantise, run_onnx, run_tflite, task
from tests.unit.test_int8_layers import in_codes, in_floats, operators

PADS = [1, 1, 1, 1]
MEAN, STD = np.array([120, 100], np.float32).reshape(1, 2, 1, 1), np.array([60, 70], np.float32)
EACH = STD.reshape(1, 2, 1, 1)

Scaling = Callable[[Graph], str]


def _bytes_then_channels(graph: Graph) -> str:
    """x/255, then (x − mean)/std."""
    x = graph.add("Div", "input", np.float32(255))
    return graph.add("Div", graph.add("Sub", x, MEAN / 255), EACH / 255)


def _turned(graph: Graph) -> str:
    x = graph.add("Transpose", "input", perm=[0, 2, 3, 1])
    x = graph.add("Mul", graph.add("Sub", x, MEAN.reshape(2)), 1 / STD)
    return graph.add("Transpose", x, perm=[0, 3, 1, 2])


SCALINGS: dict[str, Scaling] = {
    "a factor": lambda g: g.add("Mul", "input", np.float32(1 / 255)),
    "a divisor": lambda g: g.add("Div", "input", np.full((1, 1, 1, 1), 255, np.float32)),
    "one mean": lambda g: g.add("Mul", g.add("Sub", "input", np.float32(127.5)), np.float32(1 / 64)),
    "equal means": lambda g: g.add(
        "Mul",
        g.add("Sub", "input", np.full((1, 2, 1, 1), 127.5, np.float32)),
        np.full((1, 2, 1, 1), 1 / 64, np.float32),
    ),
    "a summand": lambda g: g.add("Add", g.add("Div", "input", np.float32(127.5)), np.float32(-1)),
    "inverted": lambda g: g.add("Sub", np.float32(1), g.add("Mul", "input", np.float32(1 / 255))),
    "channels": lambda g: g.add("Div", g.add("Sub", "input", MEAN), EACH),
    "bytes, then channels": _bytes_then_channels,
    "BatchNormalization": lambda g: g.add(
        "BatchNormalization", "input", np.float32([1, 0.8]), np.float32([0.1, 0]), MEAN.reshape(-1), STD**2
    ),
    "channels last": _turned,
}
FACTORS = ("a factor", "a divisor")


def network(scaling: Scaling, layer: str) -> onnx.ModelProto:
    graph = Graph(2, 8, 8)
    x, kernel, bias = scaling(graph), 0.3 * graph.weights(8, 2, 3, 3), graph.weights(8)
    match layer:
        case "padded":
            x = graph.add("Conv", x, kernel, bias, pads=PADS)
        case "SAME":
            x = graph.add("Conv", x, kernel, auto_pad="SAME_UPPER", strides=[2, 2])
        case "Pad":
            x = graph.add("Pad", x, np.array([0, 0, 1, 1, 0, 0, 1, 1]))
            x = graph.add("Conv", x, kernel, strides=[2, 2])
        case "unpadded":
            x = graph.add("Conv", x, kernel)
        case "grouped":
            x = graph.add("Conv", x, kernel[:, :1], group=2)
        case "two":
            x = graph.add("Add", graph.add("Conv", x, kernel, bias), graph.add("Conv", x, kernel[::-1]))
        case "dense":
            x = graph.add("Flatten", x)
            graph.add("Gemm", x, 0.1 * graph.weights(128, 8), bias)
            return graph.model()
    graph.add("Flatten", graph.add("Relu", x))
    return graph.model()


LAYERS = ("padded", "SAME", "Pad", "unpadded", "grouped", "two")


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", SCALINGS)
def test_what_is_left_is_one_sum_where_borders_need_it(name, layer):
    model, inputs = network(SCALINGS[name], layer), task(32, seed=3).inputs()
    expected = run_onnx(model, inputs)
    content = in_floats(model)
    arithmetic = [kind for kind in operators(content) if kind in ("ADD", "SUB", "MUL", "DIV")]
    bordered = layer in ("padded", "SAME", "Pad") and name not in FACTORS
    assert arithmetic == ["ADD"] * (bordered + (layer == "two"))
    outputs = run_tflite(content, inputs)[0]
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("layer", ["padded", "Pad", "unpadded", "dense"])
@pytest.mark.parametrize("name", SCALINGS)
def test_both_int8_files_take_raw_inputs_alike(name, layer):
    if layer == "dense" and name in (
        "channels",
        "bytes, then channels",
        "BatchNormalization",
        "channels last",
    ):
        return  # one factor for each feature stays
    model, inputs = network(SCALINGS[name], layer), task(64, seed=5).inputs()
    quantised = quantise(model, FORMATS["int8"])
    content = in_codes(quantised)
    arithmetic = [kind for kind in operators(content) if kind in ("ADD", "SUB", "MUL", "DIV", "QUANTIZE")]
    assert arithmetic == ["ADD"] * (layer in ("padded", "Pad") and name not in FACTORS)
    assert "DEPTHWISE_CONV_2D" not in operators(content)
    outputs, codes = run_tflite(content, inputs)
    expected, exact = run_onnx(quantised, inputs), run_onnx(model, inputs)
    assert codes is not None and len(np.unique(codes)) > 50
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    assert np.abs(expected - exact).max() < 4 * np.ptp(exact) / 255


@pytest.mark.parametrize("layer", ["padded", "unpadded"])
@pytest.mark.parametrize("name", SCALINGS)
def test_activations_of_16_bits_take_raw_inputs_alike(name, layer):
    model, inputs = network(SCALINGS[name], layer), task(64, seed=5).inputs()
    content = in_codes(quantise(model, FORMATS["int16x8"]))
    arithmetic = [kind for kind in operators(content) if kind in ("ADD", "SUB", "MUL", "DIV", "QUANTIZE")]
    assert arithmetic == ["ADD"] * (layer == "padded" and name not in FACTORS)
    assert "DEPTHWISE_CONV_2D" not in operators(content)
    outputs, exact = run_tflite(content, inputs)[0], run_onnx(model, inputs)
    assert np.abs(outputs - exact).max() < 0.01 * np.ptp(exact)


def test_a_border_stays_the_mean_of_raw_inputs():
    """An input of the mean alone is 0 everywhere, so what is computed has no edge."""
    graph = Graph(2, 8, 8)
    x = graph.add("Mul", graph.add("Sub", "input", np.float32(128)), np.float32(1 / 64))
    graph.add("Conv", x, np.abs(graph.weights(4, 2, 3, 3)), pads=PADS)
    model = graph.model()
    grey = np.full((1, 2, 8, 8), 128, np.float32)
    content = in_codes(quantise(model, FORMATS["int8"]))
    assert operators(content) == ["ADD", "CONV_2D"]
    image = run_tflite(content, grey)[0]
    # 128 lies within half a step of a code: what that makes of each place is the same but at the border.
    assert np.abs(image).max() <= np.abs(run_tflite(content, grey + 1)[0]).max()
    inner = image[:, 1:-1, 1:-1]
    assert np.ptp(inner, axis=(1, 2)).max() == 0


def test_what_also_reads_the_raw_input_or_has_a_kernel_of_others_is_left():
    graph = Graph(2, 8, 8)
    x = graph.add("Sub", "input", np.float32(128))
    kernel = graph.constant(0.1 * graph.weights(2, 2, 3, 3))
    y = graph.add("Conv", x, kernel, pads=PADS)
    graph.add("Add", y, x)
    model = graph.model()
    assert without_scaling(model).model is model
    graph = Graph(2, 8, 8)
    x = graph.add("Mul", "input", np.float32(0.01))
    kernel = graph.constant(0.1 * graph.weights(2, 2, 3, 3))
    graph.add("Conv", graph.add("Conv", x, kernel, pads=PADS), kernel, pads=PADS)
    model = graph.model()
    assert without_scaling(model).model is model


def test_a_constant_that_makes_more_channels_stays():
    graph = Graph(1, 8, 8)
    x = graph.add("Mul", "input", np.full((1, 2, 1, 1), 0.5, np.float32))
    graph.add("Conv", x, graph.weights(4, 2, 3, 3))
    model, inputs = graph.model(), task(4, seed=3).inputs()[:, :1]
    assert without_scaling(model).model is model
    outputs = np.moveaxis(run_tflite(in_floats(model), inputs)[0], -1, 1)
    np.testing.assert_allclose(outputs, run_onnx(model, inputs), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("std", "folded"), [((60, 70), True), ((1, 500), False)])
def test_int8_keeps_factors_that_one_scale_for_each_kernel_does_not_suit(std, folded):
    def scaling(graph: Graph) -> str:
        return graph.add("Div", "input", np.array(std, np.float32).reshape(1, 2, 1, 1))

    model = network(scaling, "unpadded")
    assert (without_scaling(model, 1.0).model is not model) == folded
    assert without_scaling(model).model is not model


def test_float32_keeps_a_mean_that_would_cost_digits():
    def scaling(graph: Graph) -> str:
        return graph.add("Div", graph.add("Sub", "input", np.float32(30_000)), np.float32(64))

    model = network(scaling, "unpadded")
    assert operators(in_floats(model))[:2] == ["ADD", "CONV_2D"]


def test_clustered_kernels_keep_their_codebook():
    """Their scales take the one factor; one for each channel would make other values of the same cluster."""
    values = np.float32([-1, -0.5, 0, 0.5, 1])
    kernel = values[np.random.default_rng(0).integers(0, 5, (8, 2, 3, 3))]

    def model(scaling: Scaling) -> onnx.ModelProto:
        graph = Graph(2, 8, 8)
        graph.add("Flatten", graph.add("Conv", scaling(graph), kernel))
        return graph.model()

    for name, folded in (("one mean", True), ("channels", False)):
        quantised = quantise(model(SCALINGS[name]), FORMATS["int8"], clusters=5)
        codes = next(
            v for v in initializers(quantised).values() if v.dtype == np.int8 and v.shape[1:] == (2, 3, 3)
        )
        assert len(np.unique(codes)) == 5
        assert ("ADD" not in operators(in_codes(quantised))) == folded
