"""BatchNormalization: folding changes nothing, making gammas positive changes nothing."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgepress.graph.batchnorm import fold_batchnorm, folding_factors, make_gammas_positive
from edgepress.graph.view import initializers
from tests.networks import Graph, assert_close, inputs_for, run_onnx

LAYERS = ["Conv", "Conv without bias", "grouped", "depthwise", "ConvTranspose", "Gemm", "Gemm transposed"]


def layer_before(graph: Graph, name: str) -> str:
    """A layer with 6 outputs on the graph's input."""
    w = graph.weights
    if name.startswith("Gemm"):
        return graph.add(
            "Gemm", "input", w(6, 5) if "trans" in name else w(5, 6), w(6), transB="trans" in name
        )
    if name == "ConvTranspose":
        return graph.add("ConvTranspose", "input", w(3, 6, 2, 2), w(6), strides=[2, 2])
    shape, group = {"grouped": ((6, 1, 2, 3), 3), "depthwise": ((6, 1, 3, 3), 3)}.get(name, ((6, 3, 3, 2), 1))
    bias = [] if name == "Conv without bias" else [w(6)]
    return graph.add("Conv", "input", w(*shape), *bias, group=group)


def with_batchnorm(name: str, seed: int = 0) -> onnx.ModelProto:
    graph = Graph(*((5,) if name.startswith("Gemm") else (3, 5, 6)), seed=seed)
    graph.add("Relu", graph.batchnorm(layer_before(graph, name), 6, epsilon=1e-3))
    return graph.model()


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def assert_same(changed: onnx.ModelProto, model: onnx.ModelProto) -> None:
    onnx.checker.check_model(changed, full_check=True)
    inputs = inputs_for(model)
    assert_close(run_onnx(changed, inputs), run_onnx(model, inputs))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", LAYERS)
def test_folding_into_the_layer_before(name, seed):
    model = with_batchnorm(name, seed)
    before = model.SerializeToString()
    folded = fold_batchnorm(model)
    assert ops(folded) == [name.split()[0] if name[0].isupper() else "Conv", "Relu"]
    assert len(folded.graph.initializer) == 2
    assert_same(folded, model)
    assert model.SerializeToString() == before


@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 7), (4,)])
def test_batchnorm_on_its_own_becomes_arithmetic(shape):
    graph = Graph(*shape)
    graph.add("Relu", graph.batchnorm("input", 4))
    folded = fold_batchnorm(graph.model())
    assert ops(folded) == ["Mul", "Add", "Relu"]
    assert_same(folded, graph.model())


def test_batchnorm_that_makes_the_output_is_folded():
    graph = Graph(3, 5, 6)
    graph.batchnorm(layer_before(graph, "Conv"), 6)
    folded = fold_batchnorm(graph.model())
    assert ops(folded) == ["Conv"]
    assert_same(folded, graph.model())


@pytest.mark.parametrize("why", ["second reader", "output", "shared kernel", "computed kernel"])
def test_layers_that_others_depend_on_stay_as_they_are(why):
    graph = Graph(3, 5, 6)
    kernel = graph.constant(graph.weights(3, 3, 1, 1))
    if why == "computed kernel":
        kernel = graph.add("Neg", kernel)
    source = graph.add("Conv", "input", kernel) if why == "shared kernel" else "input"
    conv = graph.add("Conv", source, kernel)
    normed = graph.batchnorm(conv, 3)
    graph.add("Add", normed, conv) if why == "second reader" else graph.add("Relu", normed)
    model = graph.model(conv if why == "output" else "")
    folded = fold_batchnorm(model)
    assert ops(folded).count("Mul") == 1
    assert_same(folded, model)
    assert_same(make_gammas_positive(model), model)


def shared(what: str) -> onnx.ModelProto:
    """Two convolutions with BatchNormalization, one of whose constants is the same initializer."""
    graph = Graph(4, 5, 6)
    bias, statistics = graph.weights(4), [graph.weights(4), graph.weights(4), graph.weights(4)]
    tied = graph.constant(bias if what == "bias" else statistics[["gamma", "beta", "mean"].index(what)])
    for _ in range(2):
        conv = graph.add(
            "Conv", graph.last, graph.weights(4, 4, 1, 1), tied if what == "bias" else graph.weights(4)
        )
        own = [graph.weights(4), graph.weights(4), graph.weights(4)]
        names = [
            tied if what == part else values
            for part, values in zip(("gamma", "beta", "mean"), own, strict=True)
        ]
        graph.add("BatchNormalization", conv, *names, graph.weights(4, low=0.5))
    return graph.model()


@pytest.mark.parametrize("what", ["bias", "gamma", "beta", "mean"])
def test_constants_that_two_layers_share(what):
    assert_same(fold_batchnorm(shared(what)), shared(what))
    assert_same(make_gammas_positive(shared(what)), shared(what))


@pytest.mark.parametrize("bias", [(1, 6), (1,), ()])
@pytest.mark.parametrize("attributes", [{}, {"alpha": 0.5}, {"beta": 2.0}])
def test_gemm_with_any_bias_and_factors(bias, attributes):
    graph = Graph(5)
    graph.batchnorm(graph.add("Gemm", "input", graph.weights(5, 6), graph.weights(*bias), **attributes), 6)
    assert_same(fold_batchnorm(graph.model()), graph.model())
    assert_same(make_gammas_positive(graph.model()), graph.model())


def test_grouped_transposed_convolution():
    graph = Graph(4, 5, 6)
    graph.batchnorm(graph.add("ConvTranspose", "input", graph.weights(4, 3, 2, 2), group=2), 6)
    assert_same(fold_batchnorm(graph.model()), graph.model())
    assert_same(make_gammas_positive(graph.model()), graph.model())


@pytest.mark.parametrize("name", LAYERS)
def test_making_gammas_positive(name):
    model = with_batchnorm(name)
    changed = make_gammas_positive(model)
    gamma = initializers(model)[model.graph.node[1].input[1]]
    assert gamma.min() < 0
    np.testing.assert_array_equal(initializers(changed)[model.graph.node[1].input[1]], np.abs(gamma))
    assert ops(changed) == ops(model)
    assert_same(changed, model)


def test_a_gamma_of_zero_stays():
    graph = Graph(3, 5, 6)
    graph.batchnorm(layer_before(graph, "Conv"), 6)
    model = graph.model()
    name = model.graph.node[1].input[1]
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(np.array([0, 1, -1, 0, 2, -2], np.float32), name))
    assert initializers(make_gammas_positive(model))[name].tolist() == [0, 1, 1, 0, 2, 2]
    assert folding_factors(make_gammas_positive(model))[model.graph.node[0].input[1]].min() == 0
    assert_same(fold_batchnorm(make_gammas_positive(model)), model)


@pytest.mark.parametrize("name", LAYERS)
def test_folding_factors_are_what_folding_multiplies_with(name):
    model = make_gammas_positive(with_batchnorm(name))
    kernel = model.graph.node[0].input[1]
    factor = folding_factors(model)
    assert list(factor) == [kernel]
    assert (factor[kernel] > 0).all()
    ratio = initializers(fold_batchnorm(model))[kernel] / initializers(model)[kernel]
    axis = 1 if name in ("ConvTranspose", "Gemm") else 0
    shape = [1] * ratio.ndim
    shape[axis] = 6
    np.testing.assert_allclose(ratio, np.broadcast_to(factor[kernel].reshape(shape), ratio.shape), rtol=1e-5)
