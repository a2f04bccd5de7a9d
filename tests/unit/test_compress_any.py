"""Pruning, clustering and training in int8 on networks of every form; what cannot be trained stays."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from edgepress.compress.clustering.registry import clustering
from edgepress.compress.prune import prune
from edgepress.compress.quantisation.registry import Sources, quantiser
from edgepress.compress.tuning.data import TuningData
from edgepress.config.cluster import ChannelNormalised, PerTensor
from edgepress.config.model import Onnx
from edgepress.config.prune import Magnitude, MByN
from edgepress.config.quant import Int8Qat
from edgepress.config.train import Augment
from edgepress.datasets.prepared import UNKNOWN, Split
from edgepress.errors import UnsupportedModelError
from edgepress.graph.formats import number_format
from edgepress.graph.imported.network import imported
from edgepress.graph.view import initializers
from edgepress.graph.weights import kernels
from tests import any_networks, foreign
from tests.networks import (
    CLASSES,
    FORMATS,
    Graph,
    assert_close,
    fine_tuning,
    network,
    quantise,
    run_onnx,
    task,
    tensorflow,
    tuning,
)

tensorflow()

SHAPE = (2, 8, 8)
CLUSTERS = 12


def head(graph: Graph, channels: int) -> onnx.ModelProto:
    flat = graph.add("Flatten", graph.add("GlobalAveragePool"))
    graph.add("Gemm", flat, graph.weights(CLASSES, channels), graph.weights(CLASSES), transB=1, name="dense")
    return graph.model()


def conv(graph: Graph, outputs: int, inputs: int, kernel: int = 3, **attributes) -> str:
    weights = 0.3 * graph.weights(outputs, inputs // attributes.get("group", 1), kernel, kernel)
    return graph.add(
        "Conv", graph.last, weights, graph.weights(outputs), pads=[kernel // 2] * 4, **attributes
    )


def scaled(graph: Graph) -> None:
    graph.add("Mul", graph.add("Sub", "input", np.float32(128)), np.float32(0.02))


def grouped() -> onnx.ModelProto:
    graph = Graph(*SHAPE)
    scaled(graph)
    conv(graph, 8, 2)
    graph.add("Relu")
    conv(graph, 12, 8, group=4, strides=[2, 2], name="grouped")
    graph.add("Relu")
    conv(graph, 24, 12, group=12, name="depthwise")
    return head(graph, 24)


def upsampling(**attributes) -> onnx.ModelProto:
    graph = Graph(*SHAPE)
    scaled(graph)
    conv(graph, 6, 2, strides=[2, 2])
    graph.add("Relu")
    groups = attributes.get("group", 1)
    kernel = 0.3 * graph.weights(6, 8 // groups, 4, 4)
    options = {"strides": [2, 2], "pads": [1, 1, 1, 1], "name": "up"} | attributes
    graph.add("ConvTranspose", graph.last, kernel, graph.weights(8), **options)
    graph.add("Relu")
    return head(graph, 8)


def preactivated() -> onnx.ModelProto:
    """BatchNormalization that no kernel comes before, with negative gammas."""
    graph = Graph(*SHAPE)
    scaled(graph)
    first = conv(graph, 8, 2)
    graph.add("Relu", graph.batchnorm(first, 8))
    second = conv(graph, 8, 8)
    joined = graph.add("Concat", first, second, axis=1)
    graph.add("Relu", graph.batchnorm(joined, 16))
    return head(graph, 16)


def matrices() -> onnx.ModelProto:
    """Products with a constant on either side, of three axes too, and one of two computed ones."""
    graph = Graph(*SHAPE)
    scaled(graph)
    conv(graph, 8, 2, strides=[2, 2])
    tokens = graph.add("Transpose", graph.add("Reshape", graph.last, np.array([0, 8, 16])), perm=[0, 2, 1])
    mixed = graph.add("MatMul", graph.weights(16, 16), tokens, name="left")
    right = graph.add("Add", graph.add("MatMul", mixed, graph.weights(8, 8), name="right"), graph.weights(8))
    each = graph.add("MatMul", graph.add("Relu", right), graph.weights(1, 8, 8), name="batched")
    scores = graph.add("MatMul", each, graph.add("Transpose", right, perm=[0, 2, 1]))
    attended = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), right)
    graph.add("ReduceMean", attended, axes=[1], keepdims=0)
    graph.add("MatMul", graph.last, graph.weights(8, CLASSES), name="dense")
    return graph.model()


def sequence() -> onnx.ModelProto:
    graph = Graph(*SHAPE)
    scaled(graph)
    graph.add("Reshape", graph.last, np.array([0, 2, 64]))
    graph.add("Conv", graph.last, 0.3 * graph.weights(8, 2, 5), graph.weights(8), strides=[2], name="line")
    graph.add("Relu")
    graph.add("ReduceMean", graph.last, axes=[2], keepdims=0)
    graph.add("Gemm", graph.last, graph.weights(8, CLASSES), None, alpha=0.5, name="dense")
    return graph.model()


def shared() -> onnx.ModelProto:
    """One kernel for two layers."""
    graph = Graph(*SHAPE)
    scaled(graph)
    conv(graph, 8, 2)
    kernel, bias = graph.constant(0.2 * graph.weights(8, 8, 3, 3)), graph.constant(graph.weights(8))
    for _ in range(2):
        graph.add("Relu", graph.add("Conv", graph.last, kernel, bias, pads=[1, 1, 1, 1]))
    return head(graph, 8)


def branches() -> onnx.ModelProto:
    """Squeeze and excitation, HardSwish, a dilated kernel, channel shuffle, global attention of channels."""
    graph = Graph(*SHAPE)
    scaled(graph)
    conv(graph, 8, 2)
    x = graph.add("HardSwish") if graph.opset >= 14 else graph.add("Relu")
    squeezed = graph.add("GlobalAveragePool", x)
    excited = graph.add("Conv", squeezed, graph.weights(8, 8, 1, 1), graph.weights(8), name="excite")
    x = graph.add("Mul", x, graph.add("HardSigmoid", excited, alpha=1 / 6))
    split = graph.add("Reshape", x, np.array([0, 2, 4, 8, 8]))
    shuffled = graph.add(
        "Reshape", graph.add("Transpose", split, perm=[0, 2, 1, 3, 4]), np.array([0, 8, 8, 8])
    )
    kernel = 0.3 * graph.weights(8, 8, 3, 3)
    graph.add("Conv", shuffled, kernel, dilations=[2, 2], pads=[2, 2, 2, 2], name="dilated")
    graph.add("Relu")
    return head(graph, 8)


NETWORKS: dict[str, tuple[Callable[[], onnx.ModelProto], set[str]]] = {
    "grouped": (grouped, set()),
    "transposed": (upsampling, set()),
    "transposed, dilated": (lambda: upsampling(dilations=[2, 2], pads=[3, 3, 3, 3]), {"up"}),
    "transposed, in groups": (lambda: upsampling(group=2), {"up"}),
    "normalised before": (preactivated, set()),
    "matrices": (matrices, {"batched"}),
    "sequence": (sequence, set()),
    "shared": (shared, set()),
    "branches": (branches, set()),
    "constant nodes": (lambda: foreign.with_constant_nodes(network()), set()),
    "opset 7": (lambda: foreign.with_opset(network(), 7), set()),
    "opset 21": (lambda: foreign.with_opset(network(), 21), set()),
}
"""Makers of networks, and the layers of each that cannot be trained."""


@pytest.fixture(params=NETWORKS, scope="module")
def case(request) -> tuple[onnx.ModelProto, set[str]]:
    """A network as `model=onnx` takes it, and the names of the layers that stay as they are."""
    make, left = NETWORKS[request.param]
    return imported(make(), Onnx("net.onnx", "net.onnx"), SHAPE, CLASSES).model, left


def by_layer(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The kernels that compression may change, by the names of their nodes."""
    return {kernel.node.name: kernel.values for kernel in kernels(model)}


def unchanged(model: onnx.ModelProto, before: onnx.ModelProto, names: set[str]) -> bool:
    new, old = by_layer(model), by_layer(before)
    return all(np.array_equal(new[name], old[name]) for name in names)


def test_a_way_through_keras_and_back_changes_nothing(case):
    model, _ = case
    same = prune(model, Magnitude(0.0, 0.6, fine_tuning(epochs=0)), tuning(0))
    for name, values in initializers(model).items():
        np.testing.assert_array_equal(initializers(same)[name], values, err_msg=name)


def test_pruning_reaches_its_share_in_every_layer_that_can_be_trained(case):
    model, left = case
    pruned = prune(model, Magnitude(0.5, 0.6, fine_tuning(epochs=1)), tuning())
    assert unchanged(pruned, model, left)
    for kernel in kernels(pruned):
        if kernel.prunable and kernel.node.name not in left:
            assert kernel.sparsity == pytest.approx(0.5, abs=0.5 / kernel.values.size + 1e-9), (
                kernel.node.name
            )
    assert np.isfinite(run_onnx(pruned, task(9).inputs())).all()


def test_m_by_n_prunes_what_has_its_inputs_in_a_row(case):
    model, left = case
    pruned = prune(model, MByN(2, 4, fine_tuning(epochs=0)), tuning(0))
    assert unchanged(pruned, model, left | {"up"} & set(by_layer(model)))


@pytest.mark.parametrize(
    "config",
    [
        ChannelNormalised(CLUSTERS, 0.01, fine_tuning(epochs=1)),
        PerTensor(CLUSTERS, "kmeans_plus_plus", fine_tuning(epochs=1)),
    ],
    ids=["channel_normalised", "per_tensor"],
)
def test_clustering_shares_values_and_keeps_zeros(case, config):
    model, left = case
    pruned = prune(model, Magnitude(0.5, 0.6, fine_tuning(epochs=0)), tuning(0))
    clustered = clustering(config)(pruned, config, tuning())
    assert unchanged(clustered, pruned, left)
    depthwise = {k.node.name for k in kernels(model) if not k.prunable}
    free = left if isinstance(config, ChannelNormalised) else left | depthwise
    for before, after in zip(kernels(pruned), kernels(clustered), strict=True):
        if after.node.name not in free:
            assert after.unique_weights <= CLUSTERS, after.node.name
            assert after.sparsity >= before.sparsity, after.node.name
    assert np.isfinite(run_onnx(clustered, task(9).inputs())).all()


def test_quantised_in_training_is_int8_after_it_and_starts_there(case):
    model, _ = case
    qat = Int8Qat(True, 0.99, FORMATS["int8"].calibration, fine_tuning(epochs=0))
    after, started = quantise(model, FORMATS["int8"]), quantise(model, qat, tuning=tuning)
    inputs = task(40).inputs()
    assert_close(run_onnx(started, inputs), run_onnx(after, inputs), 1e-6)
    trained = quantise(
        model, Int8Qat(True, 0.99, FORMATS["int8"].calibration, fine_tuning(epochs=1)), tuning=tuning
    )
    assert [node.op_type for node in trained.graph.node] == [node.op_type for node in after.graph.node]
    assert np.isfinite(run_onnx(trained, inputs)).all()


def test_codes_survive_int8_in_and_after_training(case):
    model, left = case
    config = ChannelNormalised(CLUSTERS, 0.01, fine_tuning(epochs=0))
    clustered = clustering(config)(model, config, tuning(0))
    for form in (FORMATS["int8"], Int8Qat(True, 0.99, FORMATS["int8"].calibration, fine_tuning(epochs=1))):
        quantised = quantise(clustered, form, CLUSTERS, tuning)
        for kernel in kernels(quantised):
            if kernel.values.dtype == np.int8 and kernel.node.name not in left:
                assert kernel.unique_weights <= CLUSTERS, (type(form).__name__, kernel.node.name)


def test_a_network_without_kernels_is_refused_in_one_line():
    graph = Graph(*SHAPE)
    graph.add("Flatten", graph.add("GlobalAveragePool"))
    config = ChannelNormalised(8, 0.0, fine_tuning())
    with pytest.raises(UnsupportedModelError, match=r"^cluster: the network has no .* -S cluster=none$"):
        clustering(config)(graph.model(), config, tuning())
    with pytest.raises(UnsupportedModelError, match=r"^prune: the network has no .* -S prune=none$"):
        prune(graph.model(), Magnitude(0.5, 0.6, fine_tuning()), tuning())


@pytest.mark.parametrize("name", ["mixed", "tokens"])
def test_inputs_and_outputs_of_any_types_are_no_hindrance_to_training(name):
    model, data = named_tuning(name)
    learning = fine_tuning(epochs=1, distillation=1.0)
    pruned = prune(model, Magnitude(0.5, 0.6, learning), data)
    assert all(kernel.sparsity == pytest.approx(0.5, abs=0.1) for kernel in kernels(pruned))
    sharing = PerTensor(4, "linear", learning)
    shared = clustering(sharing)(model, sharing, data)
    assert all(kernel.unique_weights <= 4 for kernel in kernels(shared))
    config = Int8Qat(True, 0.9, FORMATS["int8"].calibration, learning)
    sources = Sources(lambda count: data.train.samples(slice(count)), lambda: data, clusters=0, tell=print)
    trained = quantiser(config)(model, config, sources)
    assert number_format(trained) == "int8"
    assert data.course.epochs


@pytest.mark.parametrize("name", ["every type", "a state"])
def test_inputs_of_no_axes_are_none_without_training(name):
    model, data = named_tuning(name)
    config = Int8Qat(True, 0.9, FORMATS["int8"].calibration, fine_tuning(epochs=0))
    sources = Sources(lambda count: data.train.samples(slice(count)), lambda: data, clusters=0, tell=print)
    assert number_format(quantiser(config)(model, config, sources)) == "int8"


def named_tuning(name: str) -> tuple[onnx.ModelProto, TuningData]:
    """A network with inputs of its own, as the stages take it, and data to train it with."""
    network, samples = any_networks.taken(name)
    known = np.full(any_networks.SAMPLES, UNKNOWN)
    train, validation = (
        Split(np.empty(0), known[part], samples[part].arrays) for part in (slice(80), slice(80, None))
    )
    return network.model, TuningData(train, validation, Augment(0, False), 0)
