"""Calibration: which elements a range has to hold, and that nobody else's samples matter."""

import numpy as np
import onnx
import pytest

from edgepress.compress.quantisation.calibration import calibrate
from edgepress.compress.quantisation.histograms import Histogram, entropy_range, percentile_range
from edgepress.compress.quantisation.preparing import prepared, rewritten
from edgepress.compress.quantisation.registry import Sources, quantiser
from edgepress.config.quant import Calibration, Int8
from edgepress.datasets.prepared import Split
from edgepress.graph.io import save_model
from edgepress.measure.inference import logits
from tests.networks import Graph, network, run_onnx, task

METHODS = ("minmax", "entropy", "percentile")
RANDOM = np.random.default_rng(0)
NORMAL = RANDOM.normal(size=200_000)


def counted(values: np.ndarray, bins: int = 2048) -> Histogram:
    histogram = Histogram((float(values.min()), float(values.max())), bins * 16)
    for part in np.array_split(values.astype(np.float32), 3):
        histogram.add(part)
    return histogram


def by_entropy(values: np.ndarray) -> tuple[float, float]:
    return entropy_range(counted(values), 2048)


@pytest.mark.parametrize("outlier", [30.0, 100.0, 400.0])
def test_entropy_leaves_out_an_outlier_on_either_side(outlier):
    """Down to one part in 8 · 16 of the range; the bulk of a normal distribution ends near 4."""
    low, high = by_entropy(np.append(NORMAL, outlier))
    assert -5 <= low <= -3
    assert 3 <= high <= 6
    low, high = by_entropy(np.append(NORMAL, [-outlier, outlier]))
    assert -6 <= low <= -3
    assert 3 <= high <= 6


@pytest.mark.parametrize(
    "values",
    [
        RANDOM.uniform(-1, 1, 200_000),
        RANDOM.uniform(0, 3, 200_000),
        RANDOM.uniform(-2, -1, 200_000),
        RANDOM.uniform(5, 6, 200_000),
        np.sign(NORMAL),
        RANDOM.integers(0, 10, 200_000),
        RANDOM.normal(size=500),  # too few to tell chance from shape
    ],
)
def test_entropy_keeps_the_whole_of_what_has_no_tail(values):
    assert by_entropy(values) == pytest.approx((min(values.min(), 0), max(values.max(), 0)), abs=2e-3)


def test_entropy_cuts_a_long_tail_but_hardly_a_short_one():
    assert 0.6 < by_entropy(RANDOM.exponential(size=200_000))[1] / 12 < 1
    low, high = by_entropy(NORMAL)
    assert 0.9 < high / NORMAL.max() <= 1
    assert 0.9 < low / NORMAL.min() <= 1


def test_zeros_that_a_relu_makes_do_not_move_the_end():
    values = np.maximum(NORMAL, 0)
    with_zeros, without = by_entropy(np.append(values, np.zeros(10**6))), by_entropy(values[values > 0])
    assert with_zeros == without
    assert with_zeros[0] == 0
    assert with_zeros[1] > 0.85 * values.max()


def test_a_percentile_is_taken_on_both_sides():
    low, high = percentile_range(counted(NORMAL), 99.0)
    assert (low, high) == pytest.approx(np.percentile(NORMAL, [0.5, 99.5]), abs=1e-3)
    assert percentile_range(counted(NORMAL), 100.0) == pytest.approx((NORMAL.min(), NORMAL.max()), abs=1e-3)
    relu = np.maximum(NORMAL, 0)
    assert percentile_range(counted(relu), 99.0) == pytest.approx((0, np.percentile(relu, 99.5)), abs=1e-3)


def mixing(kind: str) -> onnx.ModelProto:
    """Networks in which the samples of a batch meet."""
    graph = Graph(4, 6, 6)
    scores = graph.add("Conv", "input", 0.3 * graph.weights(4, 4, 1, 1))
    if kind == "mean":
        graph.add("Sub", scores, graph.add("ReduceMean", scores, axes=[0], keepdims=1))
    elif kind == "softmax":
        graph.add("Softmax", scores, axis=0)
    elif kind == "largest":
        graph.add("Sub", scores, graph.add("ReduceMax", scores, axes=[0], keepdims=1))
    elif kind == "products":
        rows = graph.add("Reshape", scores, np.array([-1, 144], np.int64))
        products = graph.add("MatMul", rows, graph.add("Transpose", rows, perm=[1, 0]))
        graph.add("Relu", graph.add("MatMul", products, rows))
    else:
        graph.add("CumSum", scores, np.array(0, np.int64))
    return graph.model()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["mean", "softmax", "largest", "products", "cumulative"])
def test_ranges_are_those_of_samples_by_themselves_in_any_order(kind, method):
    model = prepared(rewritten(mixing(kind)))
    inputs = np.random.default_rng(1).normal(size=(9, 4, 6, 6)).astype(np.float32)
    config = Calibration(method, 9, 512, 99.0)
    ranges = calibrate(model, config, inputs).ranges
    assert calibrate(model, config, inputs[::-1]).ranges == ranges
    single = [run_onnx_unchecked(model, sample[None]) for sample in inputs]
    name = model.graph.output[0].name
    assert (name in ranges) == (kind != "cumulative")  # which stays in floats
    if method == "minmax" and name in ranges and kind != "softmax":  # whose range the int8 kernel prescribes
        assert ranges[name] == (min(map(np.min, single)), max(map(np.max, single)))
    together = run_onnx(model, inputs)
    assert not np.allclose(together, np.concatenate(single))  # they do mix


def run_onnx_unchecked(model: onnx.ModelProto, inputs: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"input": inputs})[0])


@pytest.mark.parametrize("kind", ["mean", "cumulative"])
def test_accuracies_are_those_of_samples_by_themselves(kind, tmp_path):
    model, inputs = mixing(kind), np.random.default_rng(1).normal(size=(5, 4, 6, 6)).astype(np.float32)
    save_model(tmp_path / "model.onnx", model)
    found = logits(tmp_path / "model.onnx", Split(inputs, np.zeros(5, np.int64)), threads=1)
    single = [run_onnx_unchecked(model, sample[None]) for sample in inputs]
    np.testing.assert_allclose(found, np.concatenate(single), rtol=1e-6)


def test_a_method_that_is_worse_than_minmax_is_told_in_a_line():
    told: list[str] = []
    sources = Sources(lambda samples: task(samples, seed=5).inputs(), lambda: None, 0, told.append)
    for method, percentile in (("minmax", 99.99), ("percentile", 60.0)):
        config = Int8(True, Calibration(method, 64, 512, percentile))
        quantiser(config)(network(), config, sources)
    (line,) = told
    assert line.startswith("calibration.method=percentile leaves ")
    assert line.endswith("choose quant.calibration.method=minmax")
