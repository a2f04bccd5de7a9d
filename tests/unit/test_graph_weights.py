"""Kernels, zeros and distinct weights, in every number format."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgepress.graph.batchnorm import fold_batchnorm
from edgepress.graph.weights import kernels, normalised, weight_statistics
from tests.networks import FORMATS, Graph, network, quantise


def stored(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_kernels_are_found_in_graph_order():
    model = network()
    found = kernels(model)
    assert [kernel.node.name for kernel in found] == ["stem", "depthwise", "pointwise", "dense"]
    assert [kernel.channel_axis for kernel in found] == [0, 0, 0, 0]
    assert [kernel.prunable for kernel in found] == [True, False, True, True]
    for kernel in found:
        np.testing.assert_array_equal(kernel.values, stored(model)[kernel.initializer])


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_kernels_are_found_in_every_number_format(form):
    plain, quantised = kernels(fold_batchnorm(network())), kernels(quantise(network(), FORMATS[form]))
    assert [k.prunable for k in quantised] == [k.prunable for k in plain]
    for one, other in zip(plain, quantised, strict=True):
        values = other.values if one.values.shape == other.values.shape else other.values.T
        agreement = np.corrcoef(one.values.ravel(), values.astype(np.float32).ravel())[0, 1]
        assert values.shape == one.values.shape
        assert agreement > (0.999 if form == "fp16" else 0.5)
        assert one.values.shape[one.channel_axis] == other.values.shape[other.channel_axis]


@pytest.mark.parametrize("form", FORMATS)
def test_parameters_are_as_many_in_every_number_format(form):
    """But for the divisor, of two elements, which may go into the first kernel."""
    expected = weight_statistics(fold_batchnorm(network())).parameters
    assert expected == 8 * 2 * 9 + 8 * 9 + 8 * 8 + 5 * 32 + 3 * 8 + 5 + 2
    found = weight_statistics(quantise(network(), FORMATS[form])).parameters
    assert expected - 2 <= found <= expected


def test_channel_axes():
    graph = Graph(4, 5, 6)
    graph.add("Conv", "input", graph.weights(7, 4, 2, 2), name="conv")
    graph.add("ConvTranspose", graph.last, graph.weights(7, 3, 2, 2), name="up")
    graph.add("Flatten")
    graph.add("Gemm", graph.last, graph.weights(90, 5), name="gemm")
    graph.add("Gemm", graph.last, graph.weights(6, 5), transB=1, name="transposed")
    graph.add("MatMul", graph.last, graph.weights(6, 8), name="matmul")
    found = {k.node.name: k.values.shape[k.channel_axis] for k in kernels(graph.model())}
    assert found == {"conv": 7, "up": 3, "gemm": 5, "transposed": 6, "matmul": 8}


def test_a_shared_kernel_counts_once():
    graph = Graph(4, 5, 6)
    kernel = graph.constant(graph.weights(4, 4, 1, 1))
    graph.add("Conv", graph.add("Conv", "input", kernel), kernel)
    assert len(kernels(graph.model())) == 1
    assert weight_statistics(graph.model()).parameters == 16


def test_computed_operands_are_no_kernels():
    graph = Graph(4)
    graph.add("Gemm", "input", graph.add("Neg", graph.weights(4, 5)))
    assert kernels(graph.model()) == []
    statistics = weight_statistics(graph.model())
    assert (statistics.sparsity, statistics.max_unique_weights, statistics.parameters) == (0.0, 0, 20)


def test_grouped_convolutions_are_prunable_and_depthwise_ones_are_not():
    graph = Graph(4, 5, 6)
    graph.add("Conv", "input", graph.weights(4, 2, 1, 1), group=2)
    graph.add("Conv", graph.last, graph.weights(8, 1, 1, 1), group=4)
    assert [kernel.prunable for kernel in kernels(graph.model())] == [True, False]


def of(kernel: np.ndarray) -> onnx.ModelProto:
    graph = Graph(kernel.shape[1])
    graph.add("Gemm", "input", kernel.astype(np.float32), transB=1)
    return graph.model()


def test_sparsity_is_over_prunable_weights_and_weighted_by_size():
    graph = Graph(4, 5, 6)
    depthwise = np.zeros((4, 1, 3, 3), np.float32)
    sparse, dense = np.zeros((8, 4, 1, 1), np.float32), np.ones((2, 8, 1, 1), np.float32)
    sparse[0] = 1
    graph.add("Conv", "input", depthwise, group=4)
    graph.add("Conv", graph.add("Conv", graph.last, sparse), dense)
    assert weight_statistics(graph.model()).sparsity == 28 / (32 + 16)


@pytest.mark.parametrize("form", FORMATS)
def test_zeros_are_seen_in_every_number_format(form):
    """Pruned to a third; the codes of other weights may round to zero, too."""
    model = network()
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        if values.size > 50:
            values.reshape(-1)[::3] = 0
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    expected = weight_statistics(model).sparsity
    assert expected == pytest.approx(1 / 3, abs=0.01)
    more = 0.15 if form == "int4_weights" else 0.03
    assert expected <= weight_statistics(quantise(model, FORMATS[form])).sparsity <= expected + more


def test_distinct_weights_of_a_tensor():
    assert kernels(of(np.array([[1, 2, 3, 1], [3, 3, 2, 0]])))[0].unique_weights == 4


def test_distinct_weights_up_to_a_factor_for_each_channel():
    """A scale per channel is stored anyway, so what it can take out does not count."""
    book, factors = np.array([0, 0.25, -0.5, 1]), np.array([[0.7], [3.1], [0.01], [0]])
    assert kernels(of(book * factors))[0].unique_weights == 4


def test_the_fewer_of_the_two_counts():
    """Two values in all, but each channel normalised by its own largest gives more."""
    values = np.array([[1, 1, 1], [0.5, 0.5, 0.25], [1, 0.5, 0.25]])
    assert kernels(of(values))[0].unique_weights == 3


def test_negative_channels_keep_their_sign():
    assert kernels(of(np.array([[1, 0.5], [-1, -0.5]])))[0].unique_weights == 4


def test_integer_codes_are_counted_as_they_are():
    model = quantise(network(), FORMATS["int8"])
    for kernel in kernels(model):
        assert kernel.values.dtype == np.int8
        assert kernel.unique_weights == len(np.unique(kernel.values))


def test_normalised_channels():
    values = np.array([[[2.0, -4.0]], [[0.0, 0.0]], [[-3.0, 1.0]]])
    result = normalised(values, 0)
    np.testing.assert_allclose(result, [[[0.5, -1.0]], [[0.0, 0.0]], [[-1.0, 1 / 3]]], atol=1e-5)
    assert not np.signbit(result[1]).any()
    np.testing.assert_allclose(normalised(values, 2)[2], [[-1.0, 0.25]])


def test_multiples_of_an_int8_step_are_the_same_in_channels_of_any_scale():
    """66/127 is 0.51968504: at five decimals, rounding would make two values of it."""
    codes = np.tile(np.arange(-127, 128), (50, 1)).astype(np.float32) / 127
    scales = np.random.default_rng(0).uniform(0.1, 2, (50, 1)).astype(np.float32)
    assert len(np.unique(normalised(codes * scales, 0))) == 255
