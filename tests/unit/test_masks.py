"""int8 and masks: what a mask hides costs the rest no resolution, or the nodes around it stay in floats."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper

from edgepress.compress.quantisation.registry import Sources, quantiser
from edgepress.errors import UnsupportedModelError
from edgepress.graph.view import initializers
from tests.networks import FORMATS, Graph, run_onnx, run_tflite, signal_to_noise, tensorflow

LOWEST = float(np.finfo(np.float32).min)
CAUSAL = np.triu(np.ones((6, 6), bool), 1)
INT = np.int64


def mask(value: float) -> np.ndarray:
    return np.where(CAUSAL, np.float32(value), np.float32(0))


def inputs(count: int = 24) -> np.ndarray:
    """Two channels: features, and 0 or 1 for a mask that leaves the first of each row."""
    random = np.random.default_rng(3)
    features, hidden = random.normal(size=(count, 1, 6, 6)), random.random((count, 1, 6, 6)) > 0.5
    hidden[..., 0] = False
    return np.concatenate([features, hidden], axis=1).astype(np.float32)


def network(body: Callable[[Graph, str, str], str]) -> onnx.ModelProto:
    """Scores (n, 1, 6, 6) from a layer of weights, and 0 or 1 (n, 1, 6, 6), go into the body."""
    graph = Graph(2, 6, 6)
    features = graph.add("Split", "input", axis=1)
    graph.nodes[-1].output.append("hidden")
    body(graph, graph.add("MatMul", features, graph.weights(6, 6)), "hidden")
    return graph.model()


def softmax(graph: Graph, scores: str) -> str:
    return graph.add("Softmax", scores, axis=-1)


def added(value, graph, scores, hidden):
    return softmax(graph, graph.add("Add", scores, mask(value)))


def added_to(value, graph, scores, hidden):
    return softmax(graph, graph.add("Add", mask(value), scores))


def added_twice(value, graph, scores, hidden):
    columns = np.array([0, 0, 0, 0, value, 0], np.float32)
    return softmax(graph, graph.add("Add", graph.add("Add", scores, mask(value)), columns))


def subtracted(value, graph, scores, hidden):
    return softmax(graph, graph.add("Sub", scores, mask(-value)))


def put(value, graph, scores, hidden):
    return softmax(graph, graph.add("Where", CAUSAL, np.float32(value), scores))


def left(value, graph, scores, hidden):
    return softmax(graph, graph.add("Where", ~CAUSAL, scores, np.float32(value)))


def moved(value, graph, scores, hidden):
    rows = graph.add("Reshape", graph.add("Add", scores, mask(value)), np.array([0, 6, 6], INT))
    turned = graph.add("Transpose", rows, perm=[0, 2, 1])
    return graph.add("Softmax", graph.add("Mul", turned, np.float32(0.7)), axis=1)


def joined(value, graph, scores, hidden):
    more = graph.add("MatMul", scores, graph.weights(6, 3))
    return softmax(graph, graph.add("Concat", graph.add("Add", scores, mask(value)), more, axis=-1))


def computed(value, graph, scores, hidden):
    """(1 − m)·value, m being 0 where nothing is to be seen."""
    shown = graph.add("Sub", np.float32(1), hidden)
    shown = graph.add("Sub", np.float32(1), shown)
    return softmax(graph, graph.add("Add", scores, graph.add("Mul", shown, np.float32(value))))


def chosen(value, graph, scores, hidden):
    """A Where whose condition is computed."""
    condition = graph.add("Greater", hidden, np.float32(0.5))
    return softmax(graph, graph.add("Where", condition, np.float32(value), scores))


def floored(value, graph, scores, hidden):
    return softmax(graph, graph.add("Clip", graph.add("Add", scores, mask(value)), np.float32(-1e30)))


def sigmoid(value, graph, scores, hidden):
    return graph.add("Sigmoid", graph.add("Add", scores, mask(value)))


def tanh_of_positive(value, graph, scores, hidden):
    return graph.add("Tanh", graph.add("Add", scores, mask(-value)))


def hard_sigmoid_of_positive(value, graph, scores, hidden):
    return graph.add("HardSigmoid", graph.add("Add", scores, mask(-value)))


def relu(value, graph, scores, hidden):
    return graph.add("Relu", graph.add("Add", scores, mask(value)))


def largest(value, graph, scores, hidden):
    return graph.add("ReduceMax", graph.add("Add", scores, mask(value)), axes=[-1], keepdims=0)


def bordered(value, graph, scores, hidden):
    wide = graph.add("Pad", scores, np.array([0, 0, 1, 1, 0, 0, 1, 1], INT), np.float32(value))
    return graph.add("MaxPool", wide, kernel_shape=[3, 3])


def written_out(value, graph, scores, hidden):
    masked = graph.add("Add", scores, mask(value))
    powers = graph.add("Exp", graph.add("Sub", masked, graph.add("ReduceMax", masked, axes=[-1])))
    return graph.add("Div", powers, graph.add("ReduceSum", powers, np.array([-1], INT)))


SATURATING = [
    *((added, value) for value in (-np.inf, LOWEST, -1e9, -65504.0, -1e4, -100.0)),
    *((put, value) for value in (-np.inf, LOWEST, -1e4)),
    *((computed, value) for value in (LOWEST, -1e9, -1e4)),
    *((chosen, value) for value in (LOWEST, -1e4)),
    *((sigmoid, value) for value in (-np.inf, -1e4)),
    *((body, -1e9) for body in (
        added_to, added_twice, subtracted, left, moved, joined, floored, relu, largest, bordered, written_out,
        tanh_of_positive, hard_sigmoid_of_positive,
    )),
]  # fmt: skip


def quantised(model: onnx.ModelProto, told: list[str] | None = None) -> onnx.ModelProto:
    tell = [].append if told is None else told.append
    sources = Sources(lambda samples: inputs(), lambda: None, 0, tell)
    return quantiser(FORMATS["int8"])(model, FORMATS["int8"], sources)


@pytest.mark.parametrize(("body", "value"), SATURATING)
def test_a_mask_costs_the_rest_no_resolution(body, value):
    model = network(lambda graph, scores, hidden: body(value, graph, scores, hidden))
    told: list[str] = []
    assert signal_to_noise(run_onnx(model, inputs()), run_onnx(quantised(model, told), inputs())) > 30
    assert not told


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (added, -np.inf),
        (put, LOWEST),
        (computed, LOWEST),
        (chosen, -1e9),
        (joined, -65504.0),
        (sigmoid, -np.inf),
    ],
)
def test_both_runtimes_saturate_alike(body, value):
    tensorflow()
    from edgepress.convert.nhwc import convert

    model = quantised(network(lambda graph, scores, hidden: body(value, graph, scores, hidden)))
    outputs, codes = run_tflite(bytes(convert(model, True, np.zeros(0))), inputs())
    assert codes is not None
    expected = run_onnx(model, inputs())
    assert np.abs(outputs.reshape(expected.shape) - expected).max() < 1.01 / 256


def masked_log(graph, scores, hidden):
    return graph.add("LogSoftmax", graph.add("Add", scores, mask(-1e4)))


def shown_too(graph, scores, hidden):
    masked = graph.add("Add", scores, mask(-1e9))
    return graph.add("Concat", softmax(graph, masked), masked, axis=-1)


def offset(graph, scores, hidden):
    """What an addition of a large number leaves of small ones."""
    raised = graph.add("Add", scores, np.float32(5000))
    return graph.add("Sub", raised, graph.add("ReduceMin", raised, axes=[-1]))


@pytest.mark.parametrize("body", [masked_log, shown_too, offset])
def test_what_cannot_saturate_stays_in_floats_and_is_told(body):
    tensorflow()
    from edgepress.convert.nhwc import convert

    told: list[str] = []
    model = network(body)
    integers = quantised(model, told)
    expected = run_onnx(model, inputs())
    visible = np.abs(expected) < 1e3
    actual = run_onnx(integers, inputs())
    assert signal_to_noise(expected[visible], actual[visible]) > 30
    (line,) = told
    assert (
        "add_2" in line
        and "stay in floats: " in line
        and "too far apart for 8 bits, too far from 0, or in few" in line
        and "\n" not in line
    )
    outputs, _ = run_tflite(bytes(convert(integers, False, np.zeros(0))), inputs())
    outputs = outputs.reshape(actual.shape)
    np.testing.assert_allclose(outputs[visible], actual[visible], atol=0.02 * np.ptp(actual[visible]))


@pytest.mark.parametrize(
    ("classes", "scale", "floats"), [(300, 0.02, True), (300, 3.0, False), (8, 0.5, False)], ids=str
)
@pytest.mark.parametrize("moved", [False, True])
def test_shares_that_take_few_of_the_codes_that_litert_prescribes_stay_in_floats(
    classes, scale, floats, moved
):
    """Of 300 classes all alike none comes to a step of 1/256: all shares were 0."""
    graph = Graph(6)
    shares = softmax(graph, graph.add("MatMul", "input", np.float32(scale) * graph.weights(6, classes)))
    if moved:
        graph.add("Reshape", shares, np.array([0, 2, classes // 2], INT))
    model, told = graph.model(), list[str]()
    samples = np.random.default_rng(0).normal(size=(32, 6)).astype(np.float32)
    sources = Sources(lambda count: samples, lambda: None, 0, told.append)
    integers = quantiser(FORMATS["int8"])(model, FORMATS["int8"], sources)
    assert any("in few of the codes that LiteRT prescribes" in line for line in told) == floats
    expected = np.concatenate([run_onnx(model, each[None]) for each in samples])
    actual = np.concatenate([run_onnx(integers, each[None]) for each in samples])
    assert signal_to_noise(expected, actual) > (30 if floats else 25)


def test_a_mask_of_minus_infinity_among_computed_products_needs_no_range():
    """Attention is computed in floats, its mask too."""

    def attending(graph, scores, hidden):
        turned = graph.add("Transpose", scores, perm=[0, 1, 3, 2])
        products = graph.add("Mul", graph.add("MatMul", scores, turned), np.float32(0.3))
        shares = softmax(graph, graph.add("Add", products, mask(-np.inf)))
        return graph.add("MatMul", graph.add("MatMul", shares, scores), graph.weights(6, 6))

    model = network(attending)
    assert signal_to_noise(run_onnx(model, inputs()), run_onnx(quantised(model), inputs())) > 30


@pytest.mark.parametrize("format_name", ["int8", "int16x8"])
@pytest.mark.parametrize("in_floats", [False, True])
def test_what_no_calibration_input_hides_can_be_hidden_later(in_floats, format_name):
    """A decoder that is calibrated with whole texts; where the shares go into a product, they are floats."""

    def hiding(graph, scores, hidden):
        shares = chosen(-np.inf, graph, scores, hidden)
        return graph.add("MatMul", shares, scores) if in_floats else shares

    model, nothing_hidden = network(hiding), inputs() * np.array([1, 0], np.float32).reshape(1, 2, 1, 1)
    sources, chosen_format = Sources(lambda samples: nothing_hidden, lambda: None, 0), FORMATS[format_name]
    integers = quantiser(chosen_format)(model, chosen_format, sources)
    assert signal_to_noise(run_onnx(model, inputs()), run_onnx(integers, inputs())) > 25


def test_an_input_that_is_a_mask_saturates():
    model = network(lambda graph, scores, hidden: softmax(graph, graph.add("Add", scores, hidden)))
    masks = inputs() * np.array([1, -1e9], np.float32).reshape(1, 2, 1, 1)
    sources = Sources(lambda samples: masks, lambda: None, 0)
    integers = quantiser(FORMATS["int8"])(model, FORMATS["int8"], sources)
    assert signal_to_noise(run_onnx(model, masks), run_onnx(integers, masks)) > 25


def test_ordinary_scores_and_gates_keep_the_ranges_that_they_have():
    """What saturates is cut only where that at least halves the range."""
    model = network(lambda graph, scores, hidden: graph.add("Sigmoid", softmax(graph, scores)))
    scale = initializers(quantised(model))["matmul_1_out_scale"].item()
    found = run_onnx(helper_output(model, "matmul_1_out"), inputs())
    assert scale == pytest.approx((found.max() - found.min()) / 255, rel=0.01)


def helper_output(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The model with another tensor as its output."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.output[:]
    changed.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return changed


@pytest.mark.parametrize(
    ("values", "what"),
    [(np.array([1, np.nan], np.float32), "NaN"), (np.array([1, np.inf], np.float32), "infinity")],
)
def test_weights_that_are_no_numbers_are_refused_by_name(values, what):
    model = network(lambda graph, scores, hidden: graph.add("MatMul", scores, np.resize(values, (6, 6))))
    message = rf"the constant constant_1 holds {what}; expected finite numbers\. Train or export"
    with pytest.raises(UnsupportedModelError, match=message):
        quantised(model)


def test_activations_that_become_nan_are_refused_by_name():
    model = network(lambda graph, scores, hidden: graph.add("Log", graph.add("Sub", scores, np.float32(1e6))))
    with pytest.raises(UnsupportedModelError, match="log_3_out is NaN for a calibration input"):
        quantised(model)
