"""The confidence interval of a speed-up: whether it covers the truth as often as it says."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgepress.config.device import Timing
from edgepress.devices.base import Pair
from edgepress.devices.linux import LinuxDevice
from edgepress.devices.local import LocalHost
from edgepress.devices.prediction import XNNPACK
from edgepress.devices.statistics import speedup
from tests.networks import Graph, tensorflow

TRIALS = 400


def durations(rng, sittings: int, mean: float) -> np.ndarray:
    """Made-up (sittings, rounds, runs): each process has a speed of its own, each inference a tail."""
    processes = mean * np.exp(0.03 * rng.standard_normal((sittings, 1, 1)))
    return processes * (1 + 0.05 * rng.exponential(size=(sittings, 5, 5)))


@pytest.mark.parametrize("sittings", [8, 16])
@pytest.mark.parametrize("truth", [1.0, 3.0])
def test_the_interval_covers_the_truth(sittings, truth):
    rng = np.random.default_rng(7)
    found = [speedup(durations(rng, sittings, truth), durations(rng, sittings, 1.0)) for _ in range(TRIALS)]
    covered = np.mean([each.low <= truth <= each.high for each in found])
    assert 0.92 <= covered <= 0.98  # 0.95, and three standard deviations of a share of 400
    verdicts = [each.verdict for each in found]
    expected = "no difference" if truth == 1 else "faster"
    assert np.mean([verdict == expected for verdict in verdicts]) >= 0.975


def test_more_sittings_make_it_narrower():
    rng = np.random.default_rng(3)
    few, many = (
        np.median([speedup(durations(rng, n, 2), durations(rng, n, 1)).width for _ in range(50)])
        for n in (8, 64)
    )
    assert many < 0.4 * few


def test_it_is_the_ratio_of_medians_and_says_who_is_slower():
    baseline, candidate = np.full((8, 2, 3), 2.0), np.full((8, 2, 3), 4.0)
    candidate[:, 0, 0] = 100  # one odd run in six moves no median
    found = speedup(baseline, candidate)
    assert found.ratio == found.low == found.high == pytest.approx(0.5)
    assert found.verdict == "slower"


def verdict(folder: Path, candidate: str) -> str:
    """Of a model against float32 on this computer."""
    timing = Timing(5, rounds=3, runs_per_round=10, warmup_s=0.05, ratio_width=9, budget_s=0)
    pair = Pair("tflite", folder / candidate, folder / "float.tflite")
    measured = LinuxDevice(LocalHost(), XNNPACK, timing).measure(pair, folder / "images.npy")
    timings = measured.baseline.timings, measured.candidate.timings
    return speedup(*(each.durations_ms for each in timings)).verdict


def test_two_identical_models_are_told_to_be_so(small_models):
    verdicts = [verdict(small_models, "float.tflite") for _ in range(20)]
    assert verdicts.count("no difference") >= 18


def test_two_unlike_models_are_told_apart(small_models, tmp_path):
    """A network with a layer of 3 million products more than the other."""
    shutil.copy(small_models / "images.npy", tmp_path)
    make_dense(tmp_path / "float.tflite", 16)
    make_dense(tmp_path / "larger.tflite", 2048)
    assert verdict(tmp_path, "larger.tflite") == "slower"


def make_dense(path: Path, width: int) -> None:
    tensorflow()
    from edgepress.convert.nhwc import convert

    graph = Graph(3, 8, 6)
    hidden = graph.add("Gemm", graph.add("Flatten", "input"), graph.weights(144, width))
    graph.add("Gemm", graph.add("Gemm", hidden, graph.weights(width, width)), graph.weights(width, 5))
    path.write_bytes(bytes(convert(graph.model(), False, np.zeros(0))))
