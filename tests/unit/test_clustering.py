"""Clustering: few distinct weights, zeros kept, a network that still works."""

from functools import lru_cache
from typing import get_args, get_type_hints

import numpy as np
import onnx
import pytest

from edgepress.compress.clustering.registry import clustering
from edgepress.compress.prune import prune
from edgepress.config.cluster import ChannelNormalised, PerTensor
from edgepress.config.prune import Magnitude
from edgepress.errors import ConfigError, TrainingError
from edgepress.graph.batchnorm import fold_batchnorm
from edgepress.graph.view import copy, initializers, set_initializer
from edgepress.graph.weights import kernels
from tests.compressed import CLUSTERINGS, CLUSTERS, clustered, pruned
from tests.networks import (
    FORMATS,
    TEST,
    accuracy,
    diverging,
    fine_tuning,
    network,
    quantise,
    run_onnx,
    score,
    tensorflow,
    tuning,
)

tensorflow()


def gammas(model: onnx.ModelProto) -> list[np.ndarray]:
    constants = initializers(model)
    return [constants[n.input[1]] for n in model.graph.node if n.op_type == "BatchNormalization"]


@pytest.fixture(scope="module", params=CLUSTERINGS)
def kind(request) -> str:
    return request.param


def test_kernels_have_few_distinct_weights(kind):
    """TFMOT leaves depthwise kernels as they are."""
    for kernel in kernels(clustered(kind)):
        if kind == "channel_normalised" or kernel.prunable:
            assert 4 < kernel.unique_weights <= CLUSTERS


def test_folding_batchnorm_keeps_them_few(kind):
    folded = fold_batchnorm(clustered(kind))
    if kind == "channel_normalised":
        assert max(kernel.unique_weights for kernel in kernels(folded)) <= CLUSTERS


def test_all_kernels_share_one_codebook():
    """Up to the scale of each channel, and to rounding at the grid of int8."""
    codes = [
        np.round(127 * matrix / np.maximum(np.abs(matrix).max(axis=1, keepdims=True), 1e-12))
        for matrix in (k.values.reshape(len(k.values), -1) for k in kernels(clustered("channel_normalised")))
    ]
    assert len(np.unique(np.concatenate([code.ravel() for code in codes]))) <= CLUSTERS


def test_zeros_that_pruning_made_stay(kind):
    for before, after in zip(kernels(pruned()), kernels(clustered(kind)), strict=True):
        assert (after.values[before.values == 0] == 0).all()
        assert after.sparsity >= before.sparsity


def test_no_gamma_is_negative(kind):
    assert min(gamma.min() for gamma in gammas(pruned())) < -0.1
    assert min(gamma.min() for gamma in gammas(clustered(kind))) >= 0


def test_the_network_still_works_and_has_its_form(kind):
    model = clustered(kind)
    onnx.checker.check_model(model, full_check=True)
    assert model.graph.node == pruned().graph.node
    assert score(model) > score(pruned()) - 0.1


def test_codes_and_zeros_survive_int8(kind):
    quantised = quantise(clustered(kind), FORMATS["int8"], CLUSTERS)
    for before, after in zip(kernels(clustered(kind)), kernels(quantised), strict=True):
        if kind == "channel_normalised" or after.prunable:
            assert after.unique_weights <= CLUSTERS
            assert after.sparsity == before.sparsity


def test_codes_would_not_survive_int8_unless_told_of():
    """The trap that `clusters` is for: weights shared by a whole tensor, scales for each channel."""
    quantised = quantise(clustered("per_tensor"), FORMATS["int8"], clusters=0)
    assert max(kernel.unique_weights for kernel in kernels(quantised) if kernel.prunable) > 2 * CLUSTERS


@pytest.mark.parametrize("kind", CLUSTERINGS)
def test_gammas_that_training_turns_negative_do_not_break_the_codebook(kind):
    """Tiny gammas and a high rate: some cross zero, and folding multiplies with them."""
    model = copy(network())
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            set_initializer(model, node.input[1], 0.001 * initializers(model)[node.input[1]])
    changes = fine_tuning(learning_rate=0.01)
    config = (
        ChannelNormalised(CLUSTERS, 0.0, changes)
        if kind == "channel_normalised"
        else PerTensor(CLUSTERS, "linear", changes)
    )
    data = tuning()
    result = clustering(config)(model, config, data)
    assert min(gamma.min() for gamma in gammas(result)) >= 0
    written = accuracy(run_onnx(result, data.validation.inputs()), data.validation)
    assert written == pytest.approx(data.course.epochs[data.course.kept].validation_accuracy)
    for kernel in kernels(quantise(result, FORMATS["int8"], CLUSTERS)):
        if kind == "channel_normalised" or kernel.prunable:
            assert kernel.unique_weights <= CLUSTERS


@pytest.mark.parametrize("initialisation", ["linear", "density_based", "random"])
def test_every_initialisation_of_per_tensor_clustering(initialisation):
    config = PerTensor(8, initialisation, fine_tuning(epochs=1))
    model = clustering(config)(pruned(), config, tuning(64))
    for before, after in zip(kernels(pruned()), kernels(model), strict=True):
        assert (after.values[before.values == 0] == 0).all()
        if after.prunable:
            assert 1 < len(np.unique(after.values)) <= 8


def test_distillation_gives_another_network_with_as_few_weights():
    config = ChannelNormalised(CLUSTERS, 0.01, fine_tuning(distillation=0.9))
    model = clustering(config)(pruned(), config, tuning())
    assert max(kernel.unique_weights for kernel in kernels(model)) <= CLUSTERS
    images = TEST.inputs()
    assert np.abs(run_onnx(model, images) - run_onnx(clustered("channel_normalised"), images)).max() > 0.01


def test_without_fine_tuning_the_fitted_codebook_is_written():
    config = ChannelNormalised(32, 0.0, fine_tuning(epochs=0))
    model = clustering(config)(network(), config, tuning())
    assert max(kernel.unique_weights for kernel in kernels(model)) <= 32
    assert score(model) > score(network()) - 0.05


def test_divergence_is_reported_with_its_remedy():
    config = ChannelNormalised(CLUSTERS, 0.0, fine_tuning())
    with pytest.raises(
        TrainingError, match=r"the loss became .* cluster\.fine_tune.*0\.003; lower it in conf/cluster/"
    ):
        clustering(config)(pruned(), config, diverging())


@lru_cache
def sparse(sparsity: float) -> onnx.ModelProto:
    """Pruned in one step; of the kernels, one has a single distinct weight and one is all zeros."""
    model = prune(network(), Magnitude(sparsity, 0.6, fine_tuning(epochs=0)), tuning(0))
    stem, *_, dense = (kernel for kernel in kernels(model) if kernel.prunable)
    set_initializer(model, stem.initializer, np.full_like(stem.values, 0.25))
    if sparsity > 0.99:
        set_initializer(model, dense.initializer, np.zeros_like(dense.values))
    return model


@pytest.mark.parametrize("sparsity", [0.8, 0.999])
@pytest.mark.parametrize("initialisation", get_args(get_type_hints(PerTensor)["initialisation"]))
def test_kernels_of_fewer_distinct_weights_than_clusters_stay_as_they_are(initialisation, sparsity):
    config = PerTensor(32, initialisation, fine_tuning(epochs=int(initialisation == "linear")))
    model = clustering(config)(sparse(sparsity), config, tuning(64))
    counts = []
    for before, after in zip(kernels(sparse(sparsity)), kernels(model), strict=True):
        assert (after.values[before.values == 0] == 0).all()
        distinct = len(np.unique(before.values))
        if before.prunable and distinct <= 32:
            np.testing.assert_array_equal(np.abs(after.values), np.abs(before.values))
            counts.append(distinct)
    assert len(counts) >= 2
    assert min(counts) == 1


def test_the_fewest_clusters_are_what_tfmot_takes():
    config = PerTensor(3, "kmeans_plus_plus", fine_tuning(epochs=0))
    model = clustering(config)(sparse(0.8), config, tuning(0))
    assert max(len(np.unique(kernel.values)) for kernel in kernels(model) if kernel.prunable) == 3
    with pytest.raises(ConfigError, match=r"^number_of_clusters is 2; expected an integer in \[3, 128\]$"):
        PerTensor(2, "kmeans_plus_plus", fine_tuning())
