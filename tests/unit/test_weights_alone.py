"""Weights of 8 and of 4 bits: how they lie in both files, and what the runtimes make of them."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgepress.compress.quantisation.compensating import compensated_codes, layer_inputs, shift
from edgepress.compress.quantisation.kernel_codes import codes, largest_scales, least_error_scales
from edgepress.config.quant import Calibration, Int4Weights
from edgepress.convert.flatbuffer import read_tflite
from edgepress.convert.nhwc import convert
from edgepress.convert.tflite_model import TfliteModel
from edgepress.errors import UnsupportedModelError
from edgepress.graph.formats import number_format, restore_activations, to_float
from edgepress.graph.weights import kernels
from edgepress.inspection.inspect import describe, inspect
from edgepress.inspection.tflite import tflite_format
from tests.networks import FORMATS, Graph, quantise, run_onnx, run_tflite, signal_to_noise, task

INPUTS = task(64, seed=5).inputs()
UNSEEN = task(64, seed=6).inputs()


def layers(spatial: bool = False) -> onnx.ModelProto:
    """1×1 convolutions, a strided one, a depthwise one and dense layers; with `spatial` a 3×3 one, too."""
    graph = Graph(2, 8, 8)

    def conv(source: str, outputs: int, inputs: int, size: int, **attributes: object) -> str:
        kernel = graph.weights(outputs, inputs, size, size) / np.float32(inputs * size * size) ** 0.5
        pads = [size // 2] * 4
        made = graph.add("Conv", source, kernel, 0.1 * graph.weights(outputs), pads=pads, **attributes)
        return graph.add("Relu", made)

    x = conv(graph.add("Mul", "input", np.float32(0.01)), 16, 2, 3)
    x = conv(conv(x, 16, 1, 3, group=16), 33, 16, 1)
    x = conv(x, 33, 33, 3) if spatial else x
    x = conv(x, 32, 33, 1, strides=[2, 2])
    x = graph.add("Flatten", graph.add("GlobalAveragePool", x))
    x = graph.add("Relu", graph.add("Gemm", x, graph.weights(24, 32) / 6, graph.weights(24), transB=1))
    graph.add("MatMul", x, graph.weights(24, 5) / 5)
    return graph.model()


@lru_cache
def coded(form: str, spatial: bool = False) -> onnx.ModelProto:
    return quantise(layers(spatial), FORMATS[form])


def written(folder: Path, model: onnx.ModelProto, whole: bool = False) -> tuple[bytes, TfliteModel]:
    content = bytes(convert(model, whole, INPUTS))
    (folder / "model.tflite").write_bytes(content)
    return content, read_tflite(folder / "model.tflite")


def optimised(model: onnx.ModelProto, folder: Path) -> list[str]:
    """The operators that ONNX Runtime runs in each inference."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node]


def delegated(content: bytes) -> bool:
    """Whether XNNPACK takes the whole network."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    return [node["op_name"] for node in interpreter._get_ops_details()].count("DELEGATE") == 1


def test_weights_of_8_bits_are_made_numbers_of_once(tmp_path: Path):
    model = coded("int8_weights")
    content, read = written(tmp_path, model)
    assert number_format(model) == tflite_format(read) == "int8_weights"
    assert read.weights == "int8, dequantised at run time"
    assert {kernel.dtype for kernel in read.kernels} == {"int8"}
    assert all(len(k.scales) == k.values.shape[k.channel_axis] for k in read.kernels)
    assert delegated(content)
    run = optimised(model, tmp_path)
    assert not {"Cast", "Mul", "DequantizeLinear"} & set(run) and len(run) < 12
    expected, outputs = run_onnx(model, INPUTS), run_tflite(content, INPUTS)[0]
    np.testing.assert_allclose(outputs, expected, atol=1e-5 * np.ptp(expected))
    assert signal_to_noise(run_onnx(layers(), INPUTS), outputs) > 30


def test_files_of_8_bits_are_a_quarter_as_large(tmp_path: Path):
    graph = Graph(64, 1, 1)
    graph.add("Conv", "input", graph.weights(256, 64, 1, 1))
    graph.add("Conv", graph.last, graph.weights(64, 256, 1, 1))
    model, whole = quantise_plainly(graph.model()), graph.model()
    assert len(model.SerializeToString()) < 0.28 * len(whole.SerializeToString())
    assert len(written(tmp_path, model)[0]) < 0.3 * len(written(tmp_path, whole)[0])


def quantise_plainly(model: onnx.ModelProto) -> onnx.ModelProto:
    from edgepress.compress.quantisation.registry import Sources, quantiser

    config = FORMATS["int8_weights"]
    return quantiser(config)(model, config, Sources(lambda n: INPUTS[:n], lambda: None, 0))


@pytest.mark.parametrize("form", ["int8_weights", "int4_weights"])
def test_the_float_network_is_found_again(form: str):
    plain = restore_activations(to_float(coded(form)), coded(form))
    assert number_format(plain) == "float32"
    stored, numbers = kernels(coded(form)), kernels(plain)
    assert [k.values.size for k in stored] == [k.values.size for k in numbers]
    assert signal_to_noise(run_onnx(plain, INPUTS), run_onnx(coded(form), INPUTS)) > 25


def test_weights_of_4_bits_are_executed_as_dense_layers(tmp_path: Path):
    model = coded("int4_weights")
    content, read = written(tmp_path, model, whole=True)
    assert number_format(model) == tflite_format(read) == "int4_weights"
    assert "int4, executed in int8; " in read.weights and "dequantised" not in read.weights
    found = {(k.operator, k.values.shape): k.dtype for k in read.kernels}
    assert found == {
        ("CONV_2D", (16, 3, 3, 2)): "int4",
        ("DEPTHWISE_CONV_2D", (1, 3, 3, 16)): "int8",
        ("FULLY_CONNECTED", (33, 16)): "int4",
        ("CONV_2D", (32, 1, 1, 33)): "int4",
        ("FULLY_CONNECTED", (24, 32)): "int4",
        ("FULLY_CONNECTED", (5, 24)): "int4",
    }
    run = optimised(model, tmp_path)
    assert run.count("QLinearConv") == 4 and not {"Cast", "Conv", "Gemm", "MatMul"} & set(run)
    assert signal_to_noise(run_onnx(layers(), UNSEEN), run_tflite(content, UNSEEN)[0]) > 30
    assert {int(code) for k in read.kernels if k.dtype == "int4" for code in k.values.flat} <= {*range(-7, 8)}


def test_without_spatial_kernels_all_is_fast_and_both_runtimes_agree_bit_for_bit(tmp_path: Path):
    config = Int4Weights(spatial=False, least_weights=100, calibration=Calibration("minmax", 64, 2048, 99.9))
    model = quantise(layers(spatial=True), config)
    content, read = written(tmp_path, model, whole=True)
    assert [k.dtype for k in read.kernels if k.values.shape == (33, 3, 3, 33)] == ["int8"]
    assert [k.dtype for k in read.kernels if k.values.shape == (33, 16)] == ["int4"]
    assert delegated(content)
    outputs, found = run_tflite(content, INPUTS)
    assert found is not None and np.ptp(found.astype(int)) > 50
    np.testing.assert_allclose(outputs, run_onnx(model, INPUTS), atol=1e-6 * np.ptp(outputs))


def test_kernels_of_4_bits_that_xnnpack_lacks_are_a_step_apart_at_most(tmp_path: Path):
    model = coded("int4_weights", True)
    content, read = written(tmp_path, model, whole=True)
    assert not delegated(content)
    outputs, _ = run_tflite(content, INPUTS)
    step = float(read.graphs[0].tensors[read.graphs[0].outputs[0]].scales[0])
    assert np.abs(outputs - run_onnx(model, INPUTS)).max() <= 2.01 * step


@pytest.mark.parametrize("size", [(3, 5), (4, 4), (1, 1)])
def test_codes_of_4_bits_come_back_from_the_file(size: tuple[int, int], tmp_path: Path):
    graph = Graph(size[1])
    kernel = np.resize([7, -7, 3, -1, 0, 5, -4], size).astype(np.float32)
    kernel[:, 0] = 7
    graph.add("Gemm", "input", kernel, transB=1)
    random = np.random.default_rng(0).normal(size=(64, size[1])).astype(np.float32)
    from edgepress.compress.quantisation.registry import Sources, quantiser

    config = Int4Weights(True, 1, Calibration("minmax", 64, 2048, 99.9))
    model = quantiser(config)(graph.model(), config, Sources(lambda n: random[:n], lambda: None, 0))
    _, read = written(tmp_path, model, whole=True)
    (stored,) = read.kernels
    np.testing.assert_array_equal(stored.values, kernel)
    assert inspect(tmp_path / "model.tflite").kernels[0].dtype == "int4"


def test_scales_of_the_least_error_cut_a_few_weights():
    random = np.random.default_rng(0)
    values = random.standard_t(4, size=(8, 500)).astype(np.float32)
    errors = [
        np.square(codes(values, scales, 0, 7) * scales[:, None] - values).mean()
        for scales in (least_error_scales(values, 0, 7), largest_scales(values, 0, 7))
    ]
    assert errors[0] < 0.7 * errors[1]
    assert (largest_scales(np.zeros((2, 3), np.float32), 0, 7) == 1).all()


@pytest.mark.parametrize("options", [{}, {"strides": [2, 1]}, {"dilations": [2, 2]}, {"pads": [1, 0, 2, 1]}])
def test_rounding_makes_up_for_its_losses_and_leaves_zeros_alone(options: dict[str, list[int]]):
    """The rows are the layer's inputs: their products with the kernel are what the layer makes."""
    graph = Graph(2, 8, 8)
    smooth = graph.add(
        "Conv", "input", np.full((6, 2, 3, 3), 0.1, np.float32) + 0.01 * graph.weights(6, 2, 3, 3)
    )
    kernel = graph.weights(5, 6, 3, 3)
    kernel.reshape(-1)[::3] = 0
    graph.add("Conv", smooth, kernel, **options)
    model = graph.model()
    layer = kernels(model)[1]
    read = layer_inputs(model, [layer], INPUTS)[layer.initializer]
    mean = run_onnx(model, INPUTS).mean((0, 2, 3))
    np.testing.assert_allclose(kernel.reshape(5, -1) @ read.mean, mean, rtol=1e-4)
    scales = least_error_scales(kernel, 0, 7)
    plain, made_up = codes(kernel, scales, 0, 7), compensated_codes(kernel, scales, 0, 7, read)
    assert not made_up[kernel == 0].any() and np.abs(made_up).max() <= 7
    losses = [_lost(kernel, each, scales, read.products) for each in (plain, made_up)]
    assert losses[1] < 0.3 * losses[0]
    rounded = made_up * scales.reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(
        rounded.reshape(5, -1) @ read.mean + shift(kernel, rounded, 0, read), mean, rtol=1e-4
    )


def _lost(kernel: np.ndarray, found: np.ndarray, scales: np.ndarray, products: np.ndarray) -> float:
    """The mean square of what a layer makes otherwise."""
    rows = (kernel - found * scales.reshape(-1, 1, 1, 1)).reshape(len(scales), -1)
    return float(np.einsum("oi,ij,oj->", rows, products, rows))


def test_networks_without_a_kernel_that_is_executed_are_refused():
    graph = Graph(2, 8, 8)
    graph.add("Conv", "input", graph.weights(2, 1, 3, 3), group=2)
    with pytest.raises(
        UnsupportedModelError, match=r"no kernel that .* executes with 4 bits; .* quant=int8$"
    ):
        quantise(graph.model(), FORMATS["int4_weights"])
    graph = Graph(2, 8, 8)
    graph.add("Relu")
    with pytest.raises(UnsupportedModelError, match=r"quant=int8_weights: the network has no convolution"):
        quantise(graph.model(), FORMATS["int8_weights"])


def test_inspect_says_what_is_executed_and_what_is_dequantised(tmp_path: Path):
    for form, what in {"int8_weights": "int8, dequantised", "int4_weights": "int4, executed in int8"}.items():
        written(tmp_path, coded(form), whole=True)
        assert what in describe(tmp_path / "model.tflite", False)
        onnx.save(coded(form), tmp_path / "model.onnx")
        report = inspect(tmp_path / "model.onnx")
        assert report.number_format == form
        assert (
            report.kernels[0].scales
            == report.kernels[0].shape[0 if report.kernels[0].operator != "MatMul" else 1]
        )
        assert {kernel.dtype for kernel in report.kernels} <= {"int8", "int4"}


def test_codes_of_4_bits_of_others_that_no_kernel_takes_are_bytes(tmp_path: Path):
    """Under float32 LiteRT would expand 4 bits in each inference; of bytes it makes numbers once."""
    graph = Graph(4, 6, 6, opset=21)
    codes_of_4_bits = np.resize([3, -7, 1], 32).tolist()
    stored = onnx.helper.make_tensor("k", onnx.TensorProto.INT4, (8, 4, 1, 1), codes_of_4_bits)
    graph.constants.append(stored)
    scales = graph.constant(np.linspace(0.1, 0.2, 8, dtype=np.float32))
    kernel = graph.add("DequantizeLinear", "k", scales, axis=0)
    graph.add("Conv", "input", kernel)
    info = onnx.helper.make_tensor_value_info(graph.last, 1, ["batch", 8, 6, 6])
    proto = onnx.helper.make_graph(graph.nodes, "g", [graph.entry], [info], graph.constants)
    model = onnx.helper.make_model(proto, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    content, read = written(tmp_path, model)
    assert read.weights == "int8, dequantised at run time"
    inputs = np.random.default_rng(0).normal(size=(3, 4, 6, 6)).astype(np.float32)
    outputs = np.moveaxis(run_tflite(content, inputs)[0], -1, 1)
    np.testing.assert_allclose(outputs, run_onnx(model, inputs), atol=1e-5)
