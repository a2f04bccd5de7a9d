"""Pruning: the zeros that were asked for, where they were asked for, in a network that still works."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

from edgepress.compress.prune import prune
from edgepress.config.prune import Latency, Magnitude, MByN
from edgepress.errors import DataError, TrainingError, UnsupportedModelError
from edgepress.graph.view import initializers
from edgepress.graph.weights import kernels
from edgepress.translate.planning import make_plan
from tests.compressed import pruned
from tests.networks import (
    TEST,
    Graph,
    diverging,
    fine_tuning,
    network,
    run_onnx,
    score,
    tensorflow,
    tuning,
)

tensorflow()


def sparsities(model: onnx.ModelProto) -> dict[str, float]:
    return {kernel.node.name: kernel.sparsity for kernel in kernels(model)}


def test_every_kernel_but_depthwise_ones_reaches_the_sparsity():
    assert sparsities(network()) == {"stem": 0, "depthwise": 0, "pointwise": 0, "dense": 0}
    assert sparsities(pruned()) == {"stem": 0.5, "depthwise": 0, "pointwise": 0.5, "dense": 0.5}


def test_only_weights_have_changed():
    model, before = pruned(), network()
    assert model.graph.node == before.graph.node
    assert model.graph.input == before.graph.input
    assert model.graph.output == before.graph.output
    old, new = initializers(before), initializers(model)
    changed = {name for name in old if not np.array_equal(old[name], new[name])}
    trained = {name for node in model.graph.node if node.op_type != "MaxPool" for name in node.input[1:]}
    untrained = {
        name for node in model.graph.node if node.op_type in ("Sub", "Div") for name in node.input[1:]
    }
    assert changed == {name for name in trained - untrained if name in old}
    assert [t.name for t in model.graph.initializer] == [t.name for t in before.graph.initializer]


def test_the_network_still_works():
    assert score(pruned()) > 0.55
    cut = onnx.ModelProto.FromString(network().SerializeToString())
    pruned_weights = initializers(pruned())
    for tensor in cut.graph.initializer:
        values = np.where(pruned_weights[tensor.name] == 0, 0, initializers(network())[tensor.name])
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    assert score(pruned()) > score(cut)


def test_a_steep_sparsity_is_reached_at_the_very_end():
    """80% over the whole of 51 steps, the last update at the last of them."""
    model = prune(network(), Magnitude(0.8, 1.0, fine_tuning(epochs=1, batch_size=5)), tuning())
    for kernel in kernels(model):
        if kernel.prunable:
            assert kernel.sparsity == pytest.approx(0.8, abs=1 / kernel.values.size)


@pytest.mark.parametrize(("m", "n"), [(2, 4), (1, 4)])
def test_m_of_n_consecutive_weights_along_the_input_channels_are_zero(m, n):
    """In TFLite's order, which for the dense layer is not ONNX's: it follows a flattening."""
    model = prune(network(), MByN(m, n, fine_tuning(epochs=1)), tuning())
    plan = make_plan(model)
    checked = []
    for step in plan.steps:
        if step.op not in ("conv", "dense"):
            continue
        values = step.weights["kernel"].values  # (..., inputs, outputs)
        if values.shape[-2] % n == 0:
            groups = np.moveaxis(values, -2, -1).reshape(-1, n)
            assert ((groups == 0).sum(axis=1) == m).all()
            checked.append(step.node)
    assert checked == ["pointwise", "dense"]
    assert sparsities(model)["depthwise"] == 0


def test_distillation_gives_another_network_as_sparse():
    model = prune(network(), Magnitude(0.5, 0.6, fine_tuning(distillation=0.9)), tuning())
    assert sparsities(model) == sparsities(pruned())
    images = TEST.inputs()
    assert np.abs(run_onnx(model, images) - run_onnx(pruned(), images)).max() > 0.01
    assert score(model) > 0.5


def test_full_distillation_does_not_look_at_the_classes():
    """With wrong classes and share 1 the teacher alone is heard."""
    data = tuning(64)
    wrong = replace(data, train=replace(data.train, y=np.zeros_like(data.train.y)))
    config = Magnitude(0.1, 0.6, fine_tuning(epochs=1, distillation=1.0))
    one, other = (prune(network(), config, each) for each in (data, wrong))
    assert one == other


def for_latency() -> onnx.ModelProto:
    """What TFMOT's latency policy expects: three channels, a strided 3×3 stem, then 1×1 and depthwise."""
    graph = Graph(3, 12, 12)
    w = graph.weights
    scaled = graph.add("Mul", "input", np.float32(0.01))
    graph.add("Conv", scaled, w(8, 3, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1], name="stem")
    graph.add("Relu", graph.batchnorm(graph.last, 8))
    graph.add("Conv", graph.last, w(8, 1, 3, 3), pads=[1, 1, 1, 1], group=8, name="depthwise")
    graph.add("Relu", graph.batchnorm(graph.last, 8))
    graph.add("Relu", graph.batchnorm(graph.add("Conv", graph.last, w(16, 8, 1, 1), name="pointwise"), 16))
    graph.add("Flatten", graph.add("GlobalAveragePool"))
    graph.add("Gemm", graph.last, w(5, 16), w(5), transB=1, name="dense")
    return graph.model()


@pytest.mark.parametrize("distillation", [0.0, 0.5])
def test_the_latency_policy_prunes_pointwise_kernels_only(distillation):
    config = Latency(0.75, 0.6, fine_tuning(epochs=1, distillation=distillation))
    model = prune(for_latency(), config, tuning(shape=(3, 12, 12)))
    assert sparsities(model) == {"stem": 0, "depthwise": 0, "pointwise": 0.75, "dense": 0}


def test_the_latency_policy_refuses_other_networks():
    remedy = r"prune=latency: XNNPACK's .* Conv2D 3x3.* Choose prune=magnitude instead"
    with pytest.raises(UnsupportedModelError, match=remedy.replace("Conv2D 3x3", "`Conv2D 3x3`")):
        prune(network(), Latency(0.5, 0.6, fine_tuning()), tuning())


def test_divergence_is_reported_with_its_remedy():
    config = Magnitude(0.5, 0.6, fine_tuning())
    with pytest.raises(
        TrainingError, match=r"the loss became nan in epoch 1 .*0\.003; lower it in conf/prune/"
    ):
        prune(network(), config, diverging())


def test_fewer_samples_than_one_batch_are_one_batch():
    pruned_on_few = prune(network(), Magnitude(0.5, 0.6, fine_tuning()), tuning(60))
    assert sparsities(pruned_on_few)["pointwise"] == 0.5
    with pytest.raises(DataError, match=r"the training split is empty; expected samples to fine-tune with"):
        prune(network(), Magnitude(0.5, 0.6, fine_tuning()), tuning(0))


@pytest.mark.parametrize(
    "config", [Magnitude(0.5, 0.6, fine_tuning(epochs=0)), MByN(2, 4, fine_tuning(epochs=0))]
)
def test_without_fine_tuning_the_smallest_weights_go_at_once_and_no_other_changes(config):
    model, before = prune(network(), config, tuning(0)), network()
    reached = sparsities(model)
    assert (reached["depthwise"], reached["pointwise"], reached["dense"]) == (0, 0.5, 0.5)
    for old, new in zip(kernels(before), kernels(model), strict=True):
        np.testing.assert_array_equal(new.values, np.where(new.values == 0, 0, old.values))
        if isinstance(config, Magnitude) and new.prunable:
            assert np.abs(old.values[new.values == 0]).max() <= np.abs(new.values[new.values != 0]).min()
