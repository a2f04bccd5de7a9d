"""Number formats told from the graph, and the way back to float32."""

import numpy as np
import onnx
import pytest

from edgepress.compress.quantisation.registry import Sources, quantiser
from edgepress.graph.batchnorm import fold_batchnorm
from edgepress.graph.codes import dequantise
from edgepress.graph.formats import number_format, restore_activations, to_float
from edgepress.graph.input_scaling import without_scaling
from edgepress.graph.shapes import inferred_infos
from edgepress.graph.view import initializers
from edgepress.graph.weights import kernels
from tests.networks import FORMATS, Graph, assert_close, network, quantise, run_onnx, task

IMAGES = task(64, seed=2).inputs()


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def matrix(kernel) -> np.ndarray:
    """A kernel with its output channels as rows."""
    return np.moveaxis(kernel.values, kernel.channel_axis, 0).reshape(
        kernel.values.shape[kernel.channel_axis], -1
    )


@pytest.fixture(scope="module", params=FORMATS)
def form(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def quantised(form) -> onnx.ModelProto:
    return quantise(network(), FORMATS[form])


def test_number_format(form, quantised):
    assert number_format(quantised) == form
    assert number_format(network()) == "float32"
    assert number_format(to_float(quantised)) == "float32"


def test_the_float_model_is_plain_and_valid(quantised):
    plain = to_float(quantised)
    onnx.checker.check_model(plain, full_check=True)
    assert all("Quantize" not in op and "Integer" not in op and op != "Cast" for op in ops(plain))
    assert {values.dtype for values in initializers(plain).values() if values.size > 4} == {
        np.dtype(np.float32)
    }
    assert [output.name for output in plain.graph.output] == [
        output.name for output in network().graph.output
    ]


def test_the_quantised_model_is_not_touched(quantised):
    before = quantised.SerializeToString()
    restore_activations(to_float(quantised), quantised)
    assert quantised.SerializeToString() == before


def test_float_weights_are_those_the_format_stores(form, quantised):
    folded = fold_batchnorm(network())
    scaled = folded if form in ("fp16", "dynamic") else without_scaling(folded).model
    originals, restored = kernels(scaled), kernels(to_float(quantised))
    for original, back in zip(originals, restored, strict=True):
        one, other = matrix(original), matrix(back)
        per_tensor = form == "dynamic" and original.node.op_type == "Conv"  # onnxruntime has no other
        codes = {"fp16": 1024, "int4_weights": 7 if one.size >= 100 else 127}.get(form, 127)
        steps = np.abs(one).max(axis=None if per_tensor else 1, keepdims=True) / codes
        assert np.abs(one - other).max() > 0
        if codes > 7:
            assert (np.abs(one - other) <= 0.5001 * steps).all()
        else:  # the few largest may be cut, and others make up for losses
            assert np.square(one - other).mean() <= np.square(steps).mean() / 4


def test_the_float_model_computes_nearly_the_same(form, quantised):
    plain = restore_activations(to_float(quantised), quantised)
    expected = run_onnx(network(), IMAGES)
    assert_close(run_onnx(plain, IMAGES), expected, {"fp16": 0.01, "int4_weights": 0.3}.get(form, 0.1))
    tolerance = 1e-5 if form == "fp16" else 0.1
    assert_close(run_onnx(plain, IMAGES), run_onnx(quantised, IMAGES), tolerance)


def test_float32_models_stay_as_they_are():
    model = network()
    assert to_float(model) == model
    assert restore_activations(model, model) == model


@pytest.mark.parametrize("activation", ["Relu", "Clip"])
def test_activations_that_int8_leaves_out_are_restored(activation):
    """Calibration reaches 6, so Relu6 has the range [0, 6]; where it does not, Relu does the same."""
    quantised = quantise(network(activation=activation), FORMATS["int8"])
    plain = to_float(quantised)
    assert activation not in ops(plain)
    restored = restore_activations(plain, quantised)
    assert ops(restored).count("Relu") + ops(restored).count("Clip") == 3
    assert (ops(restored).count("Clip") > 0) == (activation == "Clip")
    onnx.checker.check_model(restored, full_check=True)
    assert_close(run_onnx(restored, IMAGES), run_onnx(network(activation=activation), IMAGES), 0.1)
    assert np.abs(run_onnx(plain, IMAGES) - run_onnx(network(activation=activation), IMAGES)).max() > 1


@pytest.mark.parametrize(("low", "high"), [(-0.4, 0.8), (0.0, 0.5), (None, 0.3)])
def test_a_clip_that_int8_leaves_out_is_restored(low, high):
    """onnx-tf knew nothing of it, and gave what lies outside of the bounds as it was."""
    graph = Graph(4, 5, 6)
    layer = graph.add("Conv", "input", graph.weights(3, 4, 1, 1))
    clipped = graph.add("Clip", layer, None if low is None else np.float32(low), np.float32(high))
    graph.add("Conv", clipped, graph.weights(3, 3, 1, 1))
    model, samples = graph.model(), np.random.default_rng(0).normal(size=(32, 4, 5, 6)).astype(np.float32)
    sources = Sources(lambda count: samples, lambda: None, 0, lambda line: None)
    quantised = quantiser(FORMATS["int8"])(model, FORMATS["int8"], sources)
    restored = restore_activations(to_float(quantised), quantised)
    assert ops(restored) == ["Conv", "Clip", "Conv"]
    assert_close(run_onnx(restored, samples), run_onnx(model, samples), 0.05)


def test_activations_that_are_still_there_are_not_doubled():
    graph = Graph(4, 5, 6)
    graph.add("Sigmoid", graph.add("Relu", graph.add("Conv", "input", graph.weights(3, 4, 1, 1))))
    model = graph.model()
    assert ops(restore_activations(model, model)) == ["Conv", "Relu", "Sigmoid"]


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_dequantise_along_an_axis(axis):
    codes = np.arange(-6, 6, dtype=np.int8).reshape(3, 4)
    scale = np.array([0.5, 2, 3, 4][: codes.shape[axis]], np.float32)
    zero = np.arange(codes.shape[axis]).astype(np.int8)
    moved = (np.moveaxis(codes, axis, -1).astype(np.float32) - zero) * scale
    result = dequantise(codes, scale, zero, axis)
    np.testing.assert_array_equal(result, np.moveaxis(moved, -1, axis))
    assert result.dtype == np.float32


def test_dequantise_a_tensor():
    codes = np.array([[0, 255], [128, 3]], np.uint8)
    result = dequantise(codes, np.array(0.5, np.float32), np.array(128, np.uint8), 1)
    np.testing.assert_array_equal(result, [[-64, 63.5], [0, -62.5]])


def test_an_output_that_is_dequantised_last_keeps_its_name():
    quantised = quantise(network(), FORMATS["int8"])
    name = quantised.graph.output[0].name
    assert quantised.graph.node[-1].op_type == "DequantizeLinear"
    assert to_float(quantised).graph.node[-1].output[0] == name


def test_what_is_noted_of_a_constant_that_was_replaced_does_not_matter():
    """A quantised network has its own `input_scale` where the float one had another of four axes."""
    model = network()
    constant = model.graph.initializer[0]
    wrong = [1] * (len(constant.dims) + 1)
    model.graph.value_info.append(
        onnx.helper.make_tensor_value_info(constant.name, constant.data_type, wrong)
    )
    assert inferred_infos(model).keys() >= {output.name for output in model.graph.output}
