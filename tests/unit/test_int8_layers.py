"""Layers of an int8 file: as few operators, and the same codes, however an exporter wrote the network."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgepress.config.quant import Int8
from edgepress.convert.nhwc import convert
from edgepress.convert.writer.graph import Operator, Tensor, codes_of_one
from edgepress.convert.writer.versions import version_of
from tests.networks import FORMATS, Graph, quantise, run_onnx, run_tflite, task

INT = np.int64
PADS = [1, 1, 1, 1]
KINDS = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}


def operators(content: bytes) -> list[str]:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    (graph,) = model.subgraphs
    return [KINDS[model.operatorCodes[each.opcodeIndex].builtinCode] for each in graph.operators]


def in_floats(model: onnx.ModelProto) -> bytes:
    return bytes(convert(model, False, np.zeros(0)))


def in_codes(model: onnx.ModelProto) -> bytes:
    return bytes(convert(model, True, np.zeros(0)))


# Means over the whole map

MEANS: dict[str, Callable[[Graph, str], str]] = {
    "F.avg_pool2d": lambda g, x: g.add("AveragePool", x, kernel_shape=[4, 8]),
    "Keras": lambda g, x: g.add("AveragePool", x, kernel_shape=[4, 8], strides=[4, 8], auto_pad="VALID"),
    "larger": lambda g, x: g.add("AveragePool", x, kernel_shape=[6, 9], pads=[1, 0, 1, 1]),
    "SAME": lambda g, x: g.add("AveragePool", x, kernel_shape=[9, 8], strides=[4, 8], auto_pad="SAME_UPPER"),
    "ceil_mode": lambda g, x: g.add("AveragePool", x, kernel_shape=[4, 8], strides=[3, 8], ceil_mode=1),
    "negative axes": lambda g, x: g.add("ReduceMean", x, axes=[-1, -2], keepdims=1),
    "without its axes": lambda g, x: g.add("ReduceMean", x, axes=[2, 3], keepdims=0),
}


def averaging(mean: Callable[[Graph, str], str]) -> onnx.ModelProto:
    graph = Graph(2, 8, 8)
    image = graph.add("Conv", "input", 0.3 * graph.weights(8, 2, 3, 3), pads=PADS, strides=[2, 1])
    pooled = graph.add("Flatten", mean(graph, graph.add("Relu", image)))
    graph.add("Gemm", pooled, graph.weights(8, 5), graph.weights(5))
    return graph.model()


@pytest.mark.parametrize("name", MEANS)
def test_a_mean_over_the_whole_map_is_the_same_however_it_is_written(name):
    models = [averaging(mean) for mean in (MEANS[name], lambda g, x: g.add("GlobalAveragePool", x))]
    inputs = task(16, seed=3).inputs()
    files = [in_codes(quantise(model, FORMATS["int8"])) for model in models]
    assert operators(files[0]) == operators(files[1]) == ["PAD", "CONV_2D", "MEAN", "FULLY_CONNECTED"]
    codes, expected = (run_tflite(content, inputs)[1] for content in files)
    assert np.ptp(expected, axis=0).min() > 0
    np.testing.assert_array_equal(codes, expected)
    assert operators(in_floats(models[0])) == operators(in_floats(models[1]))


@pytest.mark.parametrize(
    ("mean", "form"),
    [
        (lambda g, x: g.add("AveragePool", x, kernel_shape=[4, 8], pads=PADS, count_include_pad=1), "int8"),
        (lambda g, x: g.add("AveragePool", x, kernel_shape=[6, 10], pads=PADS, count_include_pad=1), "float"),
        (lambda g, x: g.add("AveragePool", x, kernel_shape=[3, 8]), "float"),
    ],
)
def test_what_is_no_mean_over_the_whole_map_is_none(mean, form):
    model = averaging(lambda g, x: g.add("GlobalMaxPool", mean(g, x)))
    inputs = task(4, seed=3).inputs()
    np.testing.assert_allclose(run_tflite(in_floats(model), inputs)[0], run_onnx(model, inputs), rtol=1e-4)


@pytest.mark.parametrize("op", ["AveragePool", "GlobalAveragePool"])
def test_a_mean_over_a_whole_sequence_is_one_operator(op):
    graph = Graph(4, 200)
    graph.add(op, "input", **({"kernel_shape": [200]} if op == "AveragePool" else {}))
    model, inputs = graph.model(), np.random.default_rng(0).normal(size=(3, 4, 200)).astype(np.float32)
    content = in_floats(model)
    assert operators(content) == ["MEAN", "RESHAPE"]
    outputs = run_tflite(content, inputs.transpose(0, 2, 1))[0]
    np.testing.assert_allclose(outputs.reshape(3, 4), run_onnx(model, inputs).reshape(3, 4), atol=1e-6)


@pytest.mark.parametrize(("window", "kind"), [(3, "DEPTHWISE_CONV_2D"), (6, "DEPTHWISE_CONV_2D"),
                                              (7, "AVERAGE_POOL_2D")])  # fmt: skip
def test_means_over_windows_are_what_litert_has_fast_and_both_runtimes_round_alike(window, kind):
    graph = Graph(2, 8, 8)
    image = graph.add("Conv", "input", 0.3 * graph.weights(8, 2, 3, 3), pads=PADS)
    graph.add("AveragePool", image, kernel_shape=[window, window])
    model, inputs = quantise(graph.model(), FORMATS["int8"]), task(32, seed=3).inputs()
    content = in_codes(model)
    assert operators(content) == ["CONV_2D", kind]
    outputs, expected = run_tflite(content, inputs)[0], run_onnx(model, inputs)
    np.testing.assert_allclose(np.moveaxis(outputs, -1, 1), expected, atol=1e-5 * np.ptp(expected))


# Layers of weights on vectors


def _split(graph: Graph, x: str) -> str:
    return graph.add("Reshape", x, np.array([0, 8, 3, 4], INT))


def _bias(graph: Graph) -> np.ndarray:
    return np.linspace(-40, 40, 12, dtype=np.float32)


ROWS: dict[str, Callable[[Graph, str], str]] = {
    "(outputs,)": lambda g, x: g.add("Add", x, _bias(g)),
    "(1, outputs), first": lambda g, x: g.add("Add", _bias(g)[None], x),
    "behind heads": lambda g, x: g.add("Add", _split(g, x), _bias(g).reshape(3, 4)),
    "behind turned heads": lambda g, x: g.add(
        "Add", g.add("Transpose", _split(g, x), perm=[0, 2, 1, 3]), _bias(g).reshape(3, 1, 4)
    ),
    "behind a transpose": lambda g, x: g.add("Add", g.add("Transpose", x, perm=[0, 2, 1]), _bias(g)[:, None]),
    "behind an axis": lambda g, x: g.add("Add", g.add("Unsqueeze", x, np.array([1], INT)), _bias(g)),
}


def rows(add: Callable[[Graph, str], str], then: str = "Relu") -> onnx.ModelProto:
    """Eight rows of sixteen numbers through a layer."""
    graph = Graph(2, 8, 8)
    x = graph.add("Reshape", "input", np.array([0, 8, 16], INT))
    x = add(graph, graph.add("MatMul", x, 0.1 * graph.weights(16, 12)))
    if then:
        x = graph.add(then, x)
    graph.add("Reshape", x, np.array([0, 96], INT))
    return graph.model()


@pytest.mark.parametrize(
    ("name", "then"),
    [*((name, "") for name in ROWS), ("(outputs,)", "Relu"), ("(1, outputs), first", "Relu")],
)
def test_a_product_and_the_sum_behind_it_are_one_layer_that_rounds_once(name, then):
    """Its int8 numbers are those of the layer that ONNX has for vectors."""
    model, inputs = rows(ROWS[name], then), task(32, seed=3).inputs()
    quantised = quantise(model, FORMATS["int8"])
    content = in_codes(quantised)
    kinds = operators(content)
    assert kinds.count("FULLY_CONNECTED") == 1
    assert not {"ADD", "MUL", "QUANTIZE", "RELU", "MAXIMUM"} & {*kinds}
    assert not {"ADD"} & {*operators(in_floats(model))}
    outputs, codes = run_tflite(content, inputs)
    expected = run_onnx(quantised, inputs)
    assert codes is not None and len(np.unique(codes)) > 100
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    step = np.ptp(expected) / 255
    assert np.abs(expected - run_onnx(model, inputs)).max() < 2.5 * step


def dense(form: str) -> onnx.ModelProto:
    graph, x, features = Graph(2, 8, 8), "input", 128
    x = graph.add("Reshape", x, np.array([0, features], INT))
    for outputs in (32, 8, 32, 5):
        weights, bias = 0.1 * graph.weights(features, outputs), 9 * graph.weights(outputs)
        if form == "Gemm":
            x = graph.add("Gemm", x, weights, bias)
        else:
            x = graph.add("Add", graph.add("MatMul", x, weights), bias)
        x, features = x if outputs == 5 else graph.add("Relu", x), outputs
    return graph.model()


def test_dense_layers_of_keras_are_those_of_pytorch():
    inputs = task(32, seed=3).inputs()
    one, other = (in_codes(quantise(dense(form), FORMATS["int8"])) for form in ("Gemm", "MatMul"))
    assert operators(one) == operators(other) == ["FULLY_CONNECTED"] * 4
    assert abs(len(one) - len(other)) < 100
    np.testing.assert_array_equal(run_tflite(one, inputs)[1], run_tflite(other, inputs)[1])
    assert np.ptp(run_tflite(one, inputs)[1], axis=0).min() > 0


@pytest.mark.parametrize("per_channel", [True, False])
def test_dense_layers_have_a_scale_for_each_output_or_one_alone(per_channel):
    """Of one scale TFLM keeps nothing in RAM, as of the files of MLPerf Tiny's autoencoder."""
    quantised = quantise(dense("MatMul"), Int8(per_channel, FORMATS["int8"].calibration))
    content, inputs = in_codes(quantised), task(16, seed=3).inputs()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    (graph,) = model.subgraphs
    for operator in graph.operators:
        _, kernel, bias = (graph.tensors[place] for place in operator.inputs)
        expected = kernel.shape[0] if per_channel else 1
        assert len(kernel.quantization.scale) == len(bias.quantization.scale) == expected
    outputs, expected = run_tflite(content, inputs)[0], run_onnx(quantised, inputs)
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_what_else_reads_a_product_keeps_it():
    graph = Graph(2, 8, 8)
    x = graph.add("Reshape", "input", np.array([0, 8, 16], INT))
    product = graph.add("MatMul", x, 0.1 * graph.weights(16, 12))
    moved = graph.add("Add", graph.add("Transpose", product, perm=[0, 2, 1]), _bias(graph)[:, None])
    graph.add("Add", graph.add("Transpose", moved, perm=[0, 2, 1]), product)
    model, inputs = graph.model(), task(8, seed=3).inputs()
    for content in (in_floats(model), in_codes(quantise(model, FORMATS["int8"]))):
        outputs, expected = run_tflite(content, inputs)[0], run_onnx(model, inputs)
        np.testing.assert_allclose(outputs, expected, rtol=0, atol=np.ptp(expected) / 50)


def test_a_summand_for_each_place_is_no_bias():
    model = rows(lambda g, x: g.add("Add", g.add("Transpose", x, perm=[0, 2, 1]), g.weights(12, 8)), "")
    inputs = task(8, seed=3).inputs()
    outputs = run_tflite(in_floats(model), inputs)[0]
    np.testing.assert_allclose(outputs, run_onnx(model, inputs), rtol=1e-5, atol=1e-4)


def test_no_tensor_of_a_dense_layer_of_rows_is_a_copy():
    content = in_codes(quantise(rows(ROWS["(outputs,)"]), FORMATS["int8"]))
    assert operators(content).count("RESHAPE") <= 2
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    assert interpreter.get_output_details()[0]["shape"].tolist() == [1, 96]


@pytest.mark.parametrize("form", ["float", "int8"])
def test_one_slope_is_stored_for_each_channel(form):
    """XNNPACK of TFLite 2.14 takes it for that many, and reads what lies behind it."""
    graph = Graph(2, 8, 8)
    image = graph.add("Conv", "input", 0.3 * graph.weights(8, 2, 3, 3))
    graph.add("PRelu", image, np.full((1, 1, 1), 0.2, np.float32))
    content = (
        in_floats(graph.model()) if form == "float" else in_codes(quantise(graph.model(), FORMATS["int8"]))
    )
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    (prelu,) = (each for each in model.subgraphs[0].operators if len(each.inputs) == 2)
    assert model.subgraphs[0].tensors[prelu.inputs[1]].shape[-1] == 8


def _grouped(graph: Graph, x: str) -> str:
    return graph.add("Conv", x, 0.3 * graph.weights(8, 4, 1, 1), group=2)


@pytest.mark.parametrize(
    ("kind", "version", "body"),
    [
        ("CONV_2D", 6, _grouped),
        ("MUL", 2, lambda g, x: g.add("Mul", g.add("Sigmoid", x), x)),
        ("TILE", 3, lambda g, x: g.add("Tile", x, np.array([1, 1, 2, 1], INT))),
        ("GELU", 2, lambda g, x: g.add("Gelu", x)),
    ],
)
def test_versions_of_integer_operators_are_those_of_tensorflow(kind, version, body):
    """Source: op_version.cc; a runtime that has an older kernel alone refuses the file."""
    graph = Graph(2, 8, 8, opset=20 if kind == "GELU" else 15)
    image = graph.add("Conv", "input", 0.3 * graph.weights(8, 2, 3, 3))
    graph.add("Conv", body(graph, image), 0.3 * graph.weights(4, 8, 1, 1))
    content = in_codes(quantise(graph.model(), FORMATS["int8"]))
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    versions = {each.version for each in model.operatorCodes if KINDS[each.builtinCode] == kind}
    assert version in versions


@pytest.mark.parametrize(("scale", "version"), [(0.5, 2), (1.0, 3), (2.0, 3)])
def test_products_that_are_enlarged_have_a_version_of_their_own(scale, version):
    one, other, result = (Tensor("", (2,), "int8", codes_of_one(each, 0)) for each in (scale, 1.0, 1.0))
    assert version_of(Operator("MUL", [one, other], [result])) == version
