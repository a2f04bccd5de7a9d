"""Activations of 16 bits: what runs in them, how exactly, and what they are better for than 8."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgepress.config.convert import Nhwc
from edgepress.convert.flatbuffer import read_tflite
from edgepress.convert.nhwc import convert
from edgepress.convert.registry import convert_single
from edgepress.errors import ConfigError
from edgepress.graph.formats import number_format
from edgepress.graph.kept_floats import float_joins
from edgepress.graph.weights import kernels
from tests.compressed import CLUSTERS, quantised
from tests.networks import FORMATS, Graph, network, quantise, run_onnx, run_tflite, signal_to_noise, task

TEST = task(24, seed=3).inputs()
CALIBRATION = task(64, seed=5).inputs()


def features(graph: Graph) -> str:
    """A convolution of the input, whose numbers are a few units large."""
    scaled = graph.add("Mul", "input", np.float32(0.01))
    return graph.add("Conv", scaled, 0.5 * graph.weights(4, 2, 3, 3), graph.weights(4), pads=[1, 1, 1, 1])


def around(
    op: str, *constants: np.ndarray | None, two: bool = False, **attributes: object
) -> onnx.ModelProto:
    """A network of that operator between two convolutions; `two` gives it another computed operand."""
    graph = Graph(2, 8, 8)
    x = features(graph)
    other = [graph.add("Conv", x, 0.3 * graph.weights(4, 4, 1, 1))] if two else []
    graph.add(op, x, *other, *constants, **attributes)
    return graph.model()


R = np.random.default_rng(3)
KERNEL = R.normal(size=(4, 4, 3, 3)).astype(np.float32)
PADS = np.array([0, 0, 1, 1, 0, 0, 1, 1])
OPERATORS = {
    "CONV_2D": lambda: around("Conv", KERNEL, R.normal(size=4).astype(np.float32)),
    "CONV_2D in groups": lambda: around("Conv", KERNEL[:, :2], group=2),
    "DEPTHWISE_CONV_2D": lambda: around("Conv", KERNEL[:, :1], group=4),
    "TRANSPOSE_CONV": lambda: around("ConvTranspose", KERNEL, strides=[2, 2]),
    "FULLY_CONNECTED": lambda: around("MatMul", KERNEL[0, 0, 0, 0] * np.eye(8, 5, dtype=np.float32) + 0.1),
    "ADD": lambda: around("Add", two=True),
    "ADD of a constant": lambda: around("Add", KERNEL[0, :, :1, :1]),
    "SUB": lambda: around("Sub", two=True),
    "MUL": lambda: around("Mul", two=True),
    "MUL by the reciprocal": lambda: around("Div", np.array(3, np.float32)),
    "MAXIMUM": lambda: around("Max", two=True),
    "MINIMUM": lambda: around("Min", two=True),
    "CONCATENATION": lambda: around("Concat", two=True, axis=1),
    "SOFTMAX": lambda: around("Softmax", axis=1),
    "LOGISTIC": lambda: around("Sigmoid"),
    "TANH": lambda: around("Tanh"),
    "LEAKY_RELU": lambda: around("LeakyRelu", alpha=0.1),
    "MAX_POOL_2D": lambda: around("MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
    "MEAN": lambda: around("GlobalAveragePool"),
    "PAD": lambda: around("Pad", PADS),
    "PADV2": lambda: around("Pad", PADS, np.array(1.5, np.float32)),
    "MIRROR_PAD": lambda: around("Pad", PADS, mode="reflect"),
    "TRANSPOSE": lambda: around("Transpose", perm=[0, 2, 1, 3]),
    "RESHAPE": lambda: around("Reshape", np.array([0, 4, 16, 4])),
    "SLICE": lambda: around("Slice", np.array([1]), np.array([5]), np.array([2])),
    "RESIZE_NEAREST_NEIGHBOR": lambda: around(
        "Resize", None, np.array([1, 1, 2, 2], np.float32), mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    ),
}  # fmt: skip
STEPS = {"TANH": 13, "SOFTMAX": 6, "LOGISTIC": 4}
"""How far LiteRT's tables of curves are from what ONNX Runtime computes in floats, in steps of 1/32768."""


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_run_in_int16_and_give_what_onnxruntime_computes_in_floats(name: str, tmp_path: Path):
    model = quantise(OPERATORS[name](), FORMATS["int16x8"])
    content = bytes(convert(model, True, CALIBRATION))
    (tmp_path / "model.tflite").write_bytes(content)
    read = read_tflite(tmp_path / "model.tflite")
    assert read.float_tensors == ()
    assert {tensor.dtype for tensor in read.graphs[0].tensors if not tensor.constant} == {"INT16"}
    assert name.split()[0] in read.operators
    expected, (outputs, codes) = run_onnx(model, TEST), run_tflite(content, TEST)
    assert codes is not None and np.ptp(codes.astype(int)) > 5000
    step = float(read.graphs[0].tensors[read.graphs[0].outputs[0]].scales[0])
    steps = np.abs(np.moveaxis(outputs, -1, 1) - expected) / step
    assert steps.max() <= STEPS.get(name, 3) + 0.01
    assert steps.mean() < 1


@pytest.mark.parametrize("op", ["Gelu", "PRelu", "DepthToSpace", "Elu", "ReduceSum"])
def test_what_has_no_exact_kernel_stays_in_floats_in_both_runtimes(op: str, tmp_path: Path):
    options: dict[str, object] = {"DepthToSpace": {"blocksize": 2}}.get(op, {})
    graph = Graph(2, 8, 8, opset=20)
    others = {"PRelu": [graph.weights(4, 1, 1, low=0.1)], "ReduceSum": [np.array([2])]}.get(op, [])
    x = graph.add(op, features(graph), *others, **options)
    graph.add("Conv", x, graph.weights(3, 1 if op == "DepthToSpace" else 4, 1, 1))
    model = quantise(graph.model(), FORMATS["int16x8"])
    content = bytes(convert(model, False, CALIBRATION))
    (tmp_path / "model.tflite").write_bytes(content)
    expected, (outputs, _) = run_onnx(model, TEST), run_tflite(content, TEST)
    assert "DEQUANTIZE" in read_tflite(tmp_path / "model.tflite").operators
    assert signal_to_noise(expected, np.moveaxis(outputs, -1, 1)) > 70


@lru_cache
def heavy_tailed() -> onnx.ModelProto:
    """Products of features: few are large, and the many small ones lie within a step of int8.

    The kernel has codes of int8, so activations alone are rounded.
    """
    graph = Graph(2, 8, 8)
    kernel = np.clip(np.rint(50 * graph.weights(4, 2, 3, 3)), -127, 127).astype(np.float32)
    kernel[:, 0, 0, 0] = 127
    scaled = graph.add("Mul", "input", np.float32(0.01))
    x = graph.add("Conv", scaled, kernel / 127, graph.weights(4), pads=[1, 1, 1, 1])
    for _ in range(2):
        x = graph.add("Mul", x, x)
    graph.add("GlobalAveragePool", x)
    return graph.model()


def test_a_network_that_int8_hurts_is_nearer_to_float():
    """On the inputs of which all ranges are, so that nothing is cut."""
    model = heavy_tailed()
    expected = run_onnx(model, CALIBRATION)
    ratios = {}
    for form in ("int8", "int16x8"):
        coded = quantise(model, FORMATS[form])
        outputs, _ = run_tflite(bytes(convert(coded, False, CALIBRATION)), CALIBRATION)
        both = np.moveaxis(outputs, -1, 1), run_onnx(coded, CALIBRATION)
        ratios[form] = [signal_to_noise(expected, each) for each in both]
    assert min(ratios["int16x8"]) > max(ratios["int8"]) + 10


def test_ends_are_int16_or_float32():
    model = quantised("int16x8")
    assert number_format(model) == "int16x8"
    exact, codes = run_tflite(bytes(convert_single(model, Nhwc("int16"), CALIBRATION)), TEST)
    floats, none = run_tflite(bytes(convert_single(model, Nhwc("float32"), CALIBRATION)), TEST)
    assert codes is not None and codes.dtype == np.int16 and none is None
    np.testing.assert_allclose(exact, floats, rtol=1e-6)
    with pytest.raises(ConfigError, match=r"io_dtype is 'int8' but the network is int16x8; expected auto or"):
        convert_single(model, Nhwc("int8"), CALIBRATION)
    with pytest.raises(ConfigError, match=r"io_dtype is 'int16' but .* is int8; .*\(-S quant=int16x8\)"):
        convert_single(quantised("int8"), Nhwc("int16"), CALIBRATION)


def test_codebooks_and_zeros_survive():
    model = quantised("int16x8", "channel_normalised")
    found = [kernel for kernel in kernels(model) if kernel.prunable]
    assert max(kernel.unique_weights for kernel in kernels(model)) <= CLUSTERS
    assert np.average([k.sparsity for k in found], weights=[k.values.size for k in found]) >= 0.49


def test_a_join_of_far_apart_ranges_stays_in_floats():
    graph = Graph(2, 8, 8)
    x = features(graph)
    small = graph.add("Sigmoid", graph.add("Conv", x, graph.weights(1, 4, 1, 1)))
    large = graph.add("Conv", x, 1e5 * graph.weights(4, 4, 1, 1))
    graph.add("Concat", large, small, axis=1)
    model = quantise(graph.model(), FORMATS["int16x8"])
    assert "of 65536 codes" in str(float_joins(model)[0])
    expected, (outputs, _) = (
        run_onnx(graph.model(), TEST),
        run_tflite(bytes(convert(model, False, CALIBRATION)), TEST),
    )
    assert signal_to_noise(expected[:, 4], outputs[..., 4]) > 30


def test_kernels_of_zeros_alone_and_constant_inputs_are_taken():
    graph = Graph(2, 8, 8)
    x = features(graph)
    graph.add("Concat", x, graph.add("Conv", x, np.zeros((2, 4, 1, 1), np.float32)), axis=1)
    model = quantise(graph.model(), FORMATS["int16x8"])
    outputs, _ = run_tflite(bytes(convert(model, False, CALIBRATION)), TEST)
    assert not outputs[..., 4:].any()
    assert np.ptp(outputs[..., :4]) > 1


def test_the_float_network_is_found_again():
    from edgepress.graph.formats import to_float

    plain = to_float(quantised("int16x8"))
    assert number_format(plain) == "float32"
    assert signal_to_noise(run_onnx(network(), TEST), run_onnx(plain, TEST)) > 25
