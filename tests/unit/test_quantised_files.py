"""Quantised networks of other tools, as `.tflite` beside ONNX Runtime's numbers."""

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgepress.convert.flatbuffer import read_tflite
from edgepress.errors import UnsupportedModelError
from edgepress.graph.codes import code_limits, dequantise, quantise
from edgepress.graph.formats import INTEGERS, number_format, to_float
from edgepress.graph.normalise.normalise import normalise
from edgepress.graph.view import copy
from edgepress.translate.planning import plan_graph
from tests.networks import run_unoptimised, tensorflow
from tests.quantised_files import (
    ACTIVATION,
    GRAPHS,
    KERNELS,
    build,
    codes,
    dynamic,
    floats,
    layer,
    node,
    pair,
    trained,
    wide,
)

SAMPLES = 6
EXACT = ("a float layer between", "kernels alone", "quantised in the middle")
WORDS = ("int16 activations", "uint16 activations", "16 bits of the other domain")


def inputs(model: onnx.ModelProto) -> np.ndarray:
    sizes = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    return np.random.default_rng(3).normal(size=(SAMPLES, *sizes[1:])).astype(np.float32)


def converted(model: onnx.ModelProto) -> bytes:
    tensorflow()
    from edgepress.convert.nhwc import convert

    normal = normalise(copy(model))
    return bytes(convert(normal, number_format(normal) in INTEGERS, np.zeros(0, np.float32)))


def run(content: bytes, values: np.ndarray) -> tuple[np.ndarray, float]:
    """The numbers that a `.tflite` gives for inputs in ONNX's order, and the step of its output's codes."""
    running = Interpreter(model_content=content, num_threads=1)
    running.allocate_tensors()
    source, target = running.get_input_details()[0], running.get_output_details()[0]
    results = []
    for sample in values if values.ndim < 4 else np.moveaxis(values, 1, -1):
        sample = sample[None]
        if source["dtype"] is not np.float32:
            sample = quantise(sample, *map(np.array, _parameters(source)), 0)
        running.set_tensor(source["index"], np.ascontiguousarray(sample))
        running.invoke()
        results.append(running.get_tensor(target["index"]).copy())
    numbers = np.concatenate(results)
    step = 0.0
    if target["dtype"] is not np.float32:
        numbers, step = dequantise(numbers, *map(np.array, _parameters(target)), 0), _parameters(target)[0]
    return (np.moveaxis(numbers, -1, 1) if numbers.ndim == 4 else numbers), float(step)


def _parameters(detail: dict) -> tuple[np.float32, np.integer]:
    scale, zero = detail["quantization"]
    return np.float32(scale), detail["dtype"](zero)


def right(model: onnx.ModelProto, values: np.ndarray) -> np.ndarray:
    expected = np.concatenate([run_unoptimised(model, sample[None]) for sample in values])
    assert np.ptp(expected) > 0 and len(np.unique(expected)) > 8
    return expected


@pytest.mark.parametrize("name", [*KERNELS, *GRAPHS])
def test_the_numbers_are_those_of_onnx_runtime_but_for_ties(name):
    """At most one code apart, where a value lies between two, and that in few places.

    Half precision adds a little to each code; this project computes in single.
    """
    model = {**KERNELS, **GRAPHS}[name]()
    values = inputs(model)
    expected = right(model, values)
    actual, step = run(converted(model), values)
    assert actual.shape == expected.shape
    difference = np.abs(actual.astype(np.float64) - expected)
    if name in EXACT or name in WORDS:
        assert difference.max() <= (1e-4 if name in WORDS else 1e-5) * np.ptp(expected)
        return
    step = step or np.diff(np.unique(expected)).min()
    half = np.spacing(np.abs(expected).max().astype(np.float16)) / 2
    slack = float(half / step) if name == "half scales" else 0.01
    assert difference.max() <= (1 + slack) * step
    most = 0.06 if name == "int4" else 0.03  # LiteRT's kernel of 4 bits rounds twice
    assert (difference > 0.5 * step).mean() < most


def test_where_a_sum_lies_half_way_between_two_codes_onnx_runtime_itself_differs():
    """With such scales sums of products are exactly n + 1/2 codes, and its floats fall to either side.

    Its own integer kernels, which its optimisations choose, then give what LiteRT gives.
    """
    model = trained("Conv", 0.2 * floats(4, 4, 3, 3), np.array([0.01, 0.02, 0.005, 0.03], np.float32))
    scale = {"s": np.float32(0.04), "z": np.int8(0), "os": np.float32(0.04), "oz": np.int8(0)}
    for tensor in model.graph.initializer:
        if tensor.name in scale:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.asarray(scale[tensor.name]), tensor.name))
    values = np.concatenate([inputs(model)] * 4) * np.repeat([1, 1.3, 0.8, 0.6], SAMPLES).reshape(-1, 1, 1, 1)
    values = values.astype(np.float32)
    plain, (actual, step) = right(model, values), run(converted(model), values)
    assert 0 < (np.abs(actual - plain) > step / 2).mean() < 0.01
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    optimised = np.concatenate([session.run(None, {"x": value[None]})[0] for value in values])
    np.testing.assert_allclose(actual, optimised, atol=step / 100)


SYMMETRIC = {
    *("uint8 around 128", "code -128", "no zero point", "recoded", "depthwise recoded", "transposed recoded"),
    *("transposed in groups", "gemm turned", "int4", "uint4"),
}
DRAWN = {"one uint8 zero point", "uint8 around 128"}
"""By chance they have the codes that integer kernels take, or not."""

STORED_AS_FLOATS = {"axis of the inputs", "matrix by rows", "int16", "int4 in blocks", "int8 in blocks"}


@pytest.mark.parametrize("name", sorted(KERNELS.keys() - DRAWN))
def test_kernels_of_codes_stay_codes_and_symmetric_ones_are_computed_with(name, tmp_path):
    """Also those with a code of −128, and those of which the runtime makes numbers."""
    (tmp_path / "model.tflite").write_bytes(converted(KERNELS[name]()))
    model = read_tflite(tmp_path / "model.tflite")
    assert ("DEQUANTIZE" in model.operators) == (name not in SYMMETRIC and not name.startswith("trained"))
    stored = "float32" if name in STORED_AS_FLOATS else "int4" if name == "int4" else "int8"
    assert {kernel.dtype for kernel in model.kernels} == {stored}


def test_sixteen_bits_alone_make_no_int8_network():
    assert number_format(wide(np.uint16)) == "int8_weights"
    assert number_format(wide(np.int16)) == "int16x8"
    assert number_format(GRAPHS["a pool"]()) == "int8"


def test_a_mean_of_codes_that_onnx_runtime_declares_but_cannot_compute():
    """QLinearReduceMean has no kernel on processors: it is the mean of the numbers, quantised."""
    for opset in (17, 18):
        given = {"axes": [2, 3], "keepdims": 0}
        nodes = [
            node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
            node(
                "QLinearReduceMean", ["q", "s", "z", "os", "oz"], ["c"], "it", domain="com.microsoft", **given
            ),
            node("DequantizeLinear", ["c", "os", "oz"], ["y"], "y"),
        ]
        model = build(nodes, {**ACTIVATION, "os": np.float32(0.01), "oz": np.int8(4)}, opset=opset)
        values = inputs(model)
        actual, step = run(converted(model), values)
        taken = quantise(values, ACTIVATION["s"], ACTIVATION["z"], 0)
        mean = dequantise(taken, ACTIVATION["s"], ACTIVATION["z"], 0).mean((2, 3))
        assert len(np.unique(actual)) > 8
        assert np.abs(actual - mean).max() <= 0.51 * step


@pytest.mark.parametrize("bias", [False, True])
def test_products_that_onnx_runtime_quantises_as_it_runs(bias):
    """Its own DynamicQuantizeMatMul, and what its optimiser makes of MatMulInteger."""
    scales = np.array([0.02, 0.01, 0.03], np.float32)
    known = {"w": codes(np.int8, 16, 3), "ws": scales, "wz": np.zeros(3, np.int8), "b": floats(3)}
    operands = ["x", "w", "ws", "wz", *(["b"] if bias else [])]
    one = build(
        [node("DynamicQuantizeMatMul", operands, ["y"], "it", domain="com.microsoft")], known, (1, 16)
    )
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], "q"),
        node(
            "MatMulIntegerToFloat",
            ["q", "w", "s", "ws", "z", "wz", *(["b"] if bias else [])],
            ["y"],
            "it",
            domain="com.microsoft",
        ),
    ]
    for model in (one, build(nodes, known, (1, 16))):
        values = inputs(model)
        expected = right(model, values)
        actual, _ = run(converted(model), values)
        assert number_format(normalise(copy(model))) == "dynamic"
        assert np.abs(actual - expected).max() <= 0.03 * np.ptp(expected)


def test_several_scales_of_an_activation_are_refused():
    model = build(
        pair("x", "y", "ws", "wz", axis=1), {"ws": np.full(4, 0.1, np.float32), "wz": np.zeros(4, np.int8)}
    )
    with pytest.raises(
        UnsupportedModelError, match=r"'yq' \(QuantizeLinear\): activations of type int8 with 4 scales"
    ):
        plan_graph(normalise(model))


@pytest.mark.parametrize(
    ("op", "operands", "words"),
    [
        ("QLinearSoftmax", ["q", "s", "z", "s", "z"], "not over the last axis"),
        ("QLinearAdd", ["q", "s", "z"], "is missing"),
        ("QLinearSigmoid", ["q", "x", "z", "s", "z"], "is computed"),
    ],
)
def test_forms_of_operators_on_codes_that_are_not_taken_are_refused_by_node(op, operands, words):
    given = {"axis": 1, "opset": 9} if "Softmax" in op else {}
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
        node(op, operands, ["c"], "it", domain="com.microsoft", **given),
        node("DequantizeLinear", ["c", "s", "z"], ["y"], "y"),
    ]
    with pytest.raises(
        UnsupportedModelError, match=rf"node 'it' \({op}\): .*{words}.*; quantise it with QDQ"
    ):
        normalise(build(nodes, ACTIVATION))


def test_quantise_rounds_half_to_even_and_saturates():
    values = np.array([[0.5, 1.5, -0.5, 200.0], [2.5, -300.0, 0.26, 7.0]], np.float32)
    one = quantise(values, np.float32(1), np.int8(1), 0)
    np.testing.assert_array_equal(one, [[1, 3, 1, 127], [3, -128, 1, 8]])
    scale, zero = np.array([1, 0.5], np.float32), np.array([0, 3], np.uint8)
    np.testing.assert_array_equal(quantise(values, scale, zero, 0), [[0, 2, 0, 200], [8, 0, 4, 17]])
    assert code_limits(np.dtype(np.int16)) == (-32768, 32767)


def test_dequantise_in_blocks_whose_last_is_shorter():
    known = np.arange(10, dtype=np.int8).reshape(5, 2)
    scale = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    zero = np.array([[0, 1], [2, 0], [1, 1]], np.int8)
    expected = (known - np.repeat(zero, 2, 0)[:5].astype(np.float32)) * np.repeat(scale, 2, 0)[:5]
    np.testing.assert_array_equal(dequantise(known, scale, zero, 0, 2), expected)


def test_a_scale_along_another_axis_is_no_scale_of_the_outputs():
    """Four inputs and four outputs: the scales fit either, and were taken for those of the outputs."""
    model = layer(codes(np.int8, 4, 4, 3, 3) // 2, np.zeros(4, np.int8), axis=1)
    (step,) = [s for s in plan_graph(normalise(model)).steps if s.op == "conv"]
    assert step.weights["kernel"].quantisation is None


def test_a_network_without_quantised_activations_keeps_its_kernels_whole():
    """TensorFlow's converter would make int8 of float kernels that no quantised tensor meets."""
    model = build(
        [
            node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
            node("DequantizeLinear", ["q", "os", "oz"], ["d"], "d"),
            node("Conv", ["d", "w"], ["y"], "c"),
        ],
        {**ACTIVATION, "w": floats(64, 4, 3, 3)},
    )
    values = inputs(model)
    expected = right(model, values)
    actual, step = run(converted(model), values)
    assert step == 0 and np.abs(actual - expected).max() < 1e-5 * np.ptp(expected)


@pytest.mark.parametrize(
    ("op", "dtype", "form"),
    [
        ("MatMulInteger", np.int8, ""),
        ("MatMulInteger", np.uint8, "two products"),
        ("MatMulInteger", np.int8, "without a zero point"),
        ("ConvInteger", np.uint8, ""),
    ],
)
def test_codes_that_are_made_as_the_network_runs(op, dtype, form):
    sizes, shape = ((6, 4), (1, 6)) if op == "MatMulInteger" else ((4, 4, 3, 3), (1, 4, 8, 8))
    model = dynamic(op, codes(dtype, *sizes), shape, form)
    values = inputs(model)
    expected = right(model, values)
    actual, _ = run(converted(model), values)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() < 0.01 * np.ptp(expected)


def test_a_product_of_codes_that_is_scaled_otherwise_is_refused():
    model = normalise(dynamic("MatMulInteger", codes(np.int8, 6, 4), (1, 6), "another scale"))
    with pytest.raises(
        UnsupportedModelError, match=r"node 'it' \(MatMulInteger\): what follows does not multiply"
    ):
        to_float(model)


MADE = node("DynamicQuantizeLinear", ["x"], ["q", "qs", "qz"], "made")


def back(name: str, codes: str = "q", *parameters: str) -> onnx.NodeProto:
    return node("DequantizeLinear", [codes, *(parameters or ("qs", "qz"))], [name], name)


@pytest.mark.parametrize(
    "nodes",
    [
        [MADE, back("y")],
        [MADE, node("Transpose", ["q"], ["t"], "t", perm=[0, 2, 3, 1]), back("y", "t")],
        [MADE, back("a"), back("b"), node("Mul", ["a", "b"], ["y"], "y")],
        [
            node("Relu", ["x"], ["r"], "r"),
            node("DynamicQuantizeLinear", ["r"], ["q", "qs", "qz"], "made"),
            back("y"),
        ],
    ],
    ids=["an input", "moved", "twice", "behind a node"],
)
def test_what_is_quantised_as_the_network_runs_may_be_an_output(nodes):
    model = build(nodes, {})
    values = inputs(model)
    expected = right(model, values)
    actual, _ = run(converted(model), values)
    assert np.abs(actual - expected).max() < 0.02 * np.ptp(expected)


def test_several_outputs_of_one_tensor_are_all_written():
    model = build([MADE, back("a"), node("Relu", ["a"], ["y"], "y")], {})
    model.graph.output.insert(0, onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, None))
    model.graph.output.append(onnx.helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, None))
    model.graph.node.append(back("b"))
    plain = to_float(normalise(model))
    onnx.checker.check_model(plain, full_check=True)
    assert [node.op_type for node in plain.graph.node] == ["Relu", "Identity", "Identity"]


@pytest.mark.parametrize(
    ("nodes", "constants", "words"),
    [
        ([MADE, node("Cast", ["q"], ["y"], "cast", to=1)], {}, r"node 'cast' \(Cast\) reads what it makes"),
        ([MADE, back("a"), node("Mul", ["a", "qs"], ["y"], "m")], {}, r"node 'm' \(Mul\) reads"),
        ([MADE, back("y", "q", "s", "z")], ACTIVATION, r"node 'y' \(DequantizeLinear\) reads"),
    ],
)
def test_other_readers_of_what_is_quantised_as_the_network_runs_are_refused(nodes, constants, words):
    constants = {**constants, "z": np.uint8(3)} if constants else {}
    model = normalise(build(nodes, constants))
    with pytest.raises(UnsupportedModelError, match=rf"node 'made' \(DynamicQuantizeLinear\): .*{words}"):
        to_float(model)


def test_sixteen_bits_clip_in_floats_too():
    model = normalise(build(pair("x", "y"), {"s": np.float32(1e-4), "z": np.int16(-9)}, opset=21))
    values = inputs(model)
    expected = right(model, values)
    assert expected.max() < values.max() and expected.min() > values.min()  # they do clip
    np.testing.assert_allclose(right(to_float(model), values), expected, atol=6e-5)
