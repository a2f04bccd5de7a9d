"""Codebooks: what fitting promises of any kernels, and finding again what was fitted."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress.compress.codebooks.codebook import LEVELS, PINNED, Codebook, find_codebook, fit_codebook
from edgepress.compress.codebooks.coded_kernels import as_matrix, coded_kernels, kernel_matrices
from edgepress.graph.batchnorm import fold_batchnorm, make_gammas_positive
from edgepress.graph.view import copy, set_initializer
from edgepress.translate.planning import make_plan
from tests.networks import network


def make_kernels(shapes: list[tuple[int, int]], sparsity: float, seed: int) -> list[np.ndarray]:
    """Kernels (rows, channels) whose channels differ in size by orders of magnitude; one may be all zero."""
    random = np.random.default_rng(seed)
    kernels = []
    for rows, channels in shapes:
        kernel = random.normal(size=(rows, channels)) * 10 ** random.uniform(-3, 2, channels)
        kernel *= random.uniform(size=kernel.shape) >= sparsity
        kernel[:, : random.integers(0, 2)] = 0
        kernels.append(kernel.astype(np.float32))
    return kernels


some_kernels = st.builds(
    make_kernels,
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 8)), min_size=1, max_size=4),
    st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    st.integers(0, 10**6),
)
clusters = st.integers(4, 64)
entropy_weights = st.sampled_from([0.0, 0.01, 1.0])
quick = settings(max_examples=60, deadline=None, derandomize=True)


def decoded(book: Codebook) -> list[np.ndarray]:
    return [coded.values(book.values) for coded in book.kernels]


@quick
@given(kernels=some_kernels, clusters=clusters, weight=entropy_weights)
def test_fitted_codebooks_keep_their_promises(kernels, clusters, weight):
    book = fit_codebook(kernels, clusters, weight)
    assert len(book.values) <= clusters
    np.testing.assert_array_equal(book.values[: len(PINNED)], PINNED.astype(np.float32))
    assert np.abs(book.values).max() <= 1
    used = book.values[np.unique(np.concatenate([coded.index.ravel() for coded in book.kernels]))]
    np.testing.assert_allclose(used * LEVELS, np.round(used * LEVELS), atol=1e-4)
    for kernel, coded, values in zip(kernels, book.kernels, decoded(book), strict=True):
        assert coded.index.shape == kernel.shape
        assert coded.scale.shape == kernel.shape[1:]
        assert coded.index.min() >= 0
        assert coded.index.max() < len(book.values)
        assert (coded.scale > 0).all()
        assert (values[kernel == 0] == 0).all()


@quick
@given(kernels=some_kernels, clusters=clusters, weight=entropy_weights)
def test_the_largest_weight_of_each_channel_is_plus_or_minus_its_scale(kernels, clusters, weight):
    book = fit_codebook(kernels, clusters, weight)
    for kernel, coded, values in zip(kernels, book.kernels, decoded(book), strict=True):
        channels = np.arange(kernel.shape[1])
        largest = np.abs(kernel).argmax(axis=0)
        top = np.sign(kernel[largest, channels])
        np.testing.assert_array_equal(book.values[coded.index][largest, channels], top)
        np.testing.assert_array_equal(np.abs(values).max(axis=0), np.where(top == 0, 0, coded.scale))


@quick
@given(kernels=some_kernels, clusters=clusters)
def test_what_was_fitted_is_found(kernels, clusters):
    """Also after each channel was multiplied by a factor of its own, as folding does."""
    fitted = decoded(fit_codebook(kernels, clusters))
    random = np.random.default_rng(0)
    folded = [k * random.uniform(0.1, 10, k.shape[1]).astype(np.float32) for k in fitted]
    found = find_codebook(folded, clusters)
    assert found is not None
    for kernel, again in zip(folded, decoded(found), strict=True):
        np.testing.assert_allclose(again, kernel, rtol=1e-5)


@quick
@given(
    clusters=st.integers(4, 64),
    sizes=st.lists(st.floats(1e-3, 100), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
def test_what_is_shared_by_whole_tensors_is_found(clusters, sizes, seed):
    """Channels normalised by their own largest weights have more values here than whole tensors."""
    random = np.random.default_rng(seed)
    values = random.permutation(np.arange(-126, 127))[: clusters - 1] / np.float32(LEVELS)
    tensors = []
    for size in sizes:
        tensor = random.choice(values, (60, 16)).astype(np.float32)
        tensor[0, 0] = 1
        tensors.append((size * tensor).astype(np.float32))
    found = find_codebook(tensors, clusters)
    assert found is not None
    for tensor, coded, again in zip(tensors, found.kernels, decoded(found), strict=True):
        np.testing.assert_allclose(again, tensor, rtol=1e-5, atol=1e-7)
        assert len(np.unique(coded.scale)) == 1
        assert len(np.unique(coded.index)) <= clusters


def test_kernels_with_too_many_values_have_no_codebook():
    kernel = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    assert find_codebook([kernel], 100) is None
    assert find_codebook([kernel], 255) is not None


def test_one_kernel_with_too_many_values_is_enough():
    random = np.random.default_rng(0)
    shared = decoded(fit_codebook([random.normal(size=(50, 4)).astype(np.float32)], 8))[0]
    assert find_codebook([shared], 8) is not None
    assert find_codebook([shared, random.normal(size=(50, 4)).astype(np.float32)], 8) is None


@pytest.mark.parametrize("clusters", [8, 16, 32, 64])
def test_more_clusters_fit_better_and_well(clusters):
    kernels = [np.random.default_rng(i).normal(size=(90, 16)).astype(np.float32) for i in range(3)]

    def error(count: int) -> float:
        fitted = decoded(fit_codebook(kernels, count))
        return float(
            np.mean([((k - f) ** 2).mean() / (k**2).mean() for k, f in zip(kernels, fitted, strict=True)])
        )

    assert error(clusters) < error(clusters // 2)
    assert error(clusters) < 12 / clusters**2


def entropy(book: Codebook) -> float:
    counts = np.bincount(np.concatenate([coded.index.ravel() for coded in book.kernels]))
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def test_the_entropy_weight_buys_bits_with_error():
    kernels = [np.random.default_rng(i).laplace(size=(200, 16)).astype(np.float32) for i in range(2)]
    bits, errors = [], []
    for weight in (0.0, 0.003, 0.03):
        book = fit_codebook(kernels, 32, weight)
        bits.append(entropy(book))
        errors.append(sum(((k - f) ** 2).sum() for k, f in zip(kernels, decoded(book), strict=True)))
    assert bits[0] > bits[1] > bits[2]
    assert errors[0] < errors[1] < errors[2]


def test_small_kernels_count_as_much_as_large_ones():
    """A kernel's noise matters relative to its energy, whatever its size: so all have like errors."""
    random = np.random.default_rng(0)
    small, large = random.normal(size=(20, 10)), 1000 * random.laplace(size=(2000, 10))
    together = decoded(fit_codebook([small, large], 16))
    alone = decoded(fit_codebook([large], 16))
    error = [
        float(((k - f) ** 2).mean() / (k**2).mean()) for k, f in zip([small, large], together, strict=True)
    ]
    assert error[0] < 3 * error[1]
    assert error[1] < 4 * float(((large - alone[0]) ** 2).mean() / (large**2).mean())


def test_fitting_repeats_exactly():
    kernels = make_kernels([(30, 4), (9, 8)], 0.5, 3)
    one, other = fit_codebook(kernels, 16, 0.01), fit_codebook([k.copy() for k in kernels], 16, 0.01)
    np.testing.assert_array_equal(one.values, other.values)
    for a, b in zip(decoded(one), decoded(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_depthwise_kernels_have_channels_and_multipliers_together():
    kernel = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    assert as_matrix("depthwise_conv", kernel).shape == (6, 20)
    assert as_matrix("conv", kernel).shape == (24, 5)
    assert as_matrix("dense", kernel[0, 0]).shape == (4, 5)


def clustered(book_for: str) -> onnx.ModelProto:
    """The small network with all its kernels on one codebook, or each on its own."""
    model = make_gammas_positive(network())
    plan = make_plan(model)
    matrices = kernel_matrices(plan)
    for step in plan.steps:
        if (weight := step.weights.get("kernel")) is None:
            continue
        name = str(weight.initializer)
        chosen = list(matrices.values()) if book_for == "all" else [matrices[name]]
        book = fit_codebook(chosen, 16)
        values = decoded(book)[list(matrices).index(name) if book_for == "all" else 0]
        set_initializer(model, name, weight.to_onnx(values))
    return model


@pytest.mark.parametrize("book_for", ["all", "each"])
def test_coded_kernels_describe_the_folded_network(book_for):
    model = clustered(book_for)
    coded = coded_kernels(model, 16)
    folded = kernel_matrices(make_plan(fold_batchnorm(model)))
    assert list(coded) == list(folded)
    assert len({id(kernel.codebook) for kernel in coded.values()}) == (1 if book_for == "all" else 4)
    for name, kernel in coded.items():
        np.testing.assert_allclose(
            kernel.coded.values(kernel.codebook.values), folded[name], rtol=1e-5, atol=1e-9
        )


def test_kernels_without_a_codebook_are_left_out():
    model = clustered("each")
    plan = make_plan(model)
    name = str(next(step for step in plan.steps if step.op == "conv").weights["kernel"].initializer)
    changed = copy(model)
    set_initializer(changed, name, np.random.default_rng(0).normal(size=(8, 2, 3, 3)).astype(np.float32))
    assert set(coded_kernels(model, 16)) - set(coded_kernels(changed, 16)) == {name}
    assert coded_kernels(network(), 16) == {}
    assert coded_kernels(model, 0) == {}
