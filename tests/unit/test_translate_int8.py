"""Operators in a quantised network: all integers, and the same classes in both runtimes."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgepress.graph.view import consumers, initializers, producers
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
    content = bytes(convert(model, True, np.zeros(0)))
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
    return weighed(graph, graph.add("Concat", *parts, axis=1))


def twice_joined(graph: Graph, image: str) -> str:
    pooled = graph.add("MaxPool", weighed(graph, image), kernel_shape=[3, 3], pads=PADS)
    halves = graph.add("Clip", weighed(graph, image, channels=4), np.float32(-1), np.float32(6)), pooled
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
    content = bytes(convert(quantised, True, np.zeros(0)))
    outputs, _ = run_tflite(content, inputs)
    (detail,) = Interpreter(model_content=content).get_output_details()
    steps = np.abs(np.moveaxis(outputs, -1, 1) - run_onnx(quantised, inputs)) / detail["quantization"][0]
    assert steps.max() <= 1.01 and steps.mean() <= 0.1
    assert has_floats(content) == (body in FLOATS)
    error = np.abs(np.moveaxis(outputs, -1, 1) - run_onnx(model, inputs)) / detail["quantization"][0]
    assert error.mean() < 2


def paired(graph: Graph, image: str) -> str:
    return graph.add("AveragePool", weighed(graph, image), kernel_shape=[2, 2], strides=[2, 2])


def cropped(graph: Graph, image: str) -> str:
    """Windows that lie partly outside, on padding that does not count."""
    options = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": PADS, "count_include_pad": 0}
    return graph.add("AveragePool", weighed(graph, image), **options)


def leaky(graph: Graph, image: str) -> str:
    return graph.add("LeakyRelu", weighed(graph, graph.add("LeakyRelu", image, alpha=0.1)), alpha=0.01)


def excited(graph: Graph, image: str) -> str:
    """Squeeze and excite, with the mean as torch exports it."""
    active = graph.add("Relu", image)
    mean = graph.add("ReduceMean", active, axes=[2, 3], keepdims=1)
    return graph.add("Mul", active, graph.add("Sigmoid", weighed(graph, mean)))


def residual(graph: Graph, image: str) -> str:
    """A chain of sums whose operands are sums, too."""
    once = graph.add("Add", image, weighed(graph, image))
    inner = graph.add("Add", weighed(graph, once), weighed(graph, once))
    return graph.add("Add", once, inner)


def swish(graph: Graph, image: str) -> str:
    first = sigmoid_linear(graph, weighed(graph, image))
    return graph.add("Add", sigmoid_linear(graph, weighed(graph, first)), first)


def idle(graph: Graph, image: str) -> str:
    """A factor of 1 and a summand of 0, which TensorFlow's converter leaves out."""
    scaled = graph.add("Mul", graph.add("Relu", image), np.float32(1))
    return graph.add("MaxPool", graph.add("Add", scaled, np.float32(0)), kernel_shape=[2, 2])


@pytest.mark.parametrize("body", [paired, cropped, leaky, excited, residual, swish, idle])
def test_the_runtimes_give_the_same_bits(body):
    outputs, expected, content, _ = both_runtimes(body, samples=256)
    assert (np.ptp(expected, axis=0) > 0).mean() > 0.5
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    assert not has_floats(content)


def scales_around(body, op_type: str) -> list[tuple[list[float], float]]:
    """Of each operator of that type in the quantised network: the scales of its operands and its result."""
    graph = Graph(2, 8, 8)
    body(graph, graph.add("Conv", "input", 0.3 * graph.weights(8, 2, 3, 3), pads=PADS))
    model = quantise(graph.model(), FORMATS["int8"])
    constants, makers, readers = initializers(model), producers(model), consumers(model)

    def scale(node) -> float:
        return float(constants[node.input[1]].item())

    return [
        ([scale(makers[name]) for name in node.input], scale(readers[node.output[0]][0]))
        for node in model.graph.node
        if node.op_type == op_type
    ]


def test_sums_of_sums_round_nowhere_near_a_half():
    found = scales_around(residual, "Add")
    assert len(found) == 3
    ratios = np.array([[operand / result for operand in operands] for operands, result in found])
    np.testing.assert_allclose(1023 * ratios, np.round(1023 * ratios), atol=2e-3)


def test_products_round_nowhere_near_a_half():
    found = [*scales_around(excited, "Mul"), *scales_around(swish, "Mul")]
    assert len(found) == 3
    ratios = np.array([np.prod(operands) / result for operands, result in found])
    np.testing.assert_allclose(16383 * ratios, np.round(16383 * ratios), atol=2e-3)


def test_no_code_of_a_sigmoid_is_near_a_half():
    found = [*scales_around(excited, "Sigmoid"), *scales_around(swish, "Sigmoid")]
    assert len(found) == 3
    for (scale,), step in found:
        assert step == 1 / 256
        values = 256 / (1 + np.exp(-np.clip(scale * np.arange(-255, 256), -50, 50)))
        near = np.abs(values - np.floor(values) - 0.5)
        assert np.median(near) > 0.1  # most are anywhere
        assert np.sort(near)[255:].min() > 1e-3


def attending(graph: Graph, image: str) -> str:
    """Places attend to each other: Softmax(q·kᵀ)·v, then a layer."""
    tokens = np.array([0, 8, 64], INT)
    query, key, value = (graph.add("Reshape", weighed(graph, image), tokens) for _ in range(3))
    scores = graph.add("MatMul", graph.add("Transpose", query, perm=[0, 2, 1]), key)
    shares = graph.add("Softmax", graph.add("Mul", scores, np.float32(0.3)), axis=-1)
    mixed = graph.add("MatMul", shares, graph.add("Transpose", value, perm=[0, 2, 1]))
    turned = graph.add("Transpose", mixed, perm=[0, 2, 1])
    return weighed(graph, graph.add("Reshape", turned, np.array([0, 8, 8, 8], INT)))


def test_attention_is_computed_in_floats_by_both_runtimes():
    outputs, expected, content, _ = both_runtimes(attending, samples=64)
    details = {each["index"]: each for each in Interpreter(model_content=content).get_tensor_details()}
    operators = Interpreter(model_content=content)._get_ops_details()
    kinds = [(each["op_name"], details[each["outputs"][0]]["dtype"]) for each in operators]
    assert kinds.count(("BATCH_MATMUL", np.float32)) == 2
    assert kinds.count(("SOFTMAX", np.float32)) == 1
    assert kinds.count(("CONV_2D", np.int8)) == 5
    (detail,) = Interpreter(model_content=content).get_output_details()
    assert np.abs(outputs - expected).max() <= 1.01 * detail["quantization"][0]


def test_products_of_codes_are_exact():
    """ONNX Runtime adds them in integers, and then takes both scales."""

    def body(graph: Graph, image: str) -> str:
        tokens = np.array([0, 8, 64], INT)
        one, other = (graph.add("Reshape", weighed(graph, image), tokens) for _ in range(2))
        return graph.add("MatMul", graph.add("Transpose", one, perm=[0, 2, 1]), other)

    outputs, expected, _, exact = both_runtimes(body, samples=64)
    assert expected.std() > 0.1
    np.testing.assert_array_equal(np.moveaxis(outputs, 1, -1), expected)
    assert np.abs(expected - exact).max() < 0.1 * np.abs(exact).max()


def _in_shares(graph: Graph, x: str) -> str:
    total = graph.add("ReduceSum", graph.add("Abs", x), np.array([1], INT))
    return graph.add("Div", x, graph.add("Add", total, np.float32(1e-4)))


def _of_unit_length(graph: Graph, x: str) -> str:
    length = graph.add("ReduceL2", x, axes=[1])
    return graph.add("Div", x, graph.add("Max", length, np.float32(1e-4)))


def _of_unit_mean_square(graph: Graph, x: str) -> str:
    power = graph.add("ReduceMean", graph.add("Mul", x, x), axes=[1])
    return graph.add("Div", x, graph.add("Sqrt", graph.add("Add", power, np.float32(1e-6))))


def _by_linear_attention(graph: Graph, x: str) -> str:
    """q·(kᵀ·v), over q·(kᵀ·1), with v and 1 joined (Cai et al., EfficientViT)."""
    tokens, heads = np.array([0, 8, 64], INT), [0, 2, 1]
    query, key = (
        graph.add("Transpose", graph.add("Reshape", graph.add("Relu", weighed(graph, x)), tokens), perm=heads)
        for _ in range(2)
    )
    value = graph.add("Transpose", graph.add("Reshape", weighed(graph, x), tokens), perm=heads)
    joined_one = graph.add("Pad", value, np.array([0, 0, 0, 0, 0, 1], INT), np.float32(1))
    mixed = graph.add("MatMul", graph.add("Transpose", key, perm=heads), joined_one)
    product = graph.add("MatMul", query, mixed)
    begin, end, last = (np.array([each], INT) for each in (0, 8, 9))
    shares = graph.add("Slice", product, begin, end, np.array([2], INT))
    total = graph.add("Slice", product, end, last, np.array([2], INT))
    quotient = graph.add("Div", shares, graph.add("Add", total, np.float32(1e-15)))
    return graph.add("Reshape", graph.add("Transpose", quotient, perm=heads), np.array([0, 8, 8, 8], INT))


@pytest.mark.parametrize(
    "normalise", [_in_shares, _of_unit_length, _of_unit_mean_square, _by_linear_attention]
)
def test_small_divisors_are_no_zeros(normalise):
    """Those of some places are a thousandth of others."""
    places = np.logspace(0, -1.5, 64, dtype=np.float32).reshape(1, 1, 8, 8)

    def body(graph: Graph, image: str) -> str:
        return weighed(graph, normalise(graph, graph.add("Mul", image, places)))

    outputs, expected, content, exact = both_runtimes(body, samples=64)
    (detail,) = Interpreter(model_content=content).get_output_details()
    assert np.abs(outputs - expected).max() <= 1.01 * detail["quantization"][0]
    noise = np.sqrt(np.mean((expected - exact) ** 2))
    assert noise < 0.1 * exact.std()


def both_runtimes(body, samples: int) -> tuple[np.ndarray, np.ndarray, bytes, np.ndarray]:
    """What LiteRT and ONNX Runtime give for a quantised network, the `.tflite`, and what floats give.

    Outputs are (n, C, H, W).
    """
    tensorflow()
    from edgepress.convert.nhwc import convert

    graph = Graph(2, 8, 8)
    scaled = graph.add("Div", "input", np.float32(128))
    body(graph, graph.add("Conv", scaled, 0.3 * graph.weights(8, 2, 3, 3), pads=PADS))
    model, inputs = graph.model(), task(samples, seed=3).inputs()
    quantised = quantise(model, FORMATS["int8"])
    content = bytes(convert(quantised, True, np.zeros(0)))
    outputs, _ = run_tflite(content, inputs)
    return np.moveaxis(outputs, -1, 1), run_onnx(quantised, inputs), content, run_onnx(model, inputs)
