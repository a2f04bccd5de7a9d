"""Batches and runs without pause, on real processes."""

from pathlib import Path

import onnx
import pytest

from edgepress.config.device import Timing
from edgepress.devices.base import Measurement, Pair
from edgepress.devices.linux import LinuxDevice
from edgepress.devices.local import LocalHost
from edgepress.devices.prediction import XNNPACK
from tests.networks import Graph

TIMING = Timing(2, rounds=2, runs_per_round=5, warmup_s=0.1, ratio_width=9, budget_s=0)


def measure(pair: Pair, images: Path, **changes: object) -> Measurement:
    timing = Timing(**{**vars(TIMING), **changes})
    return LinuxDevice(LocalHost(), XNNPACK, timing).measure(pair, images)


@pytest.mark.parametrize("runtime", ["tflite", "onnxruntime"])
def test_a_batch_is_faster_than_its_samples_one_by_one(small_models, runtime):
    suffix = {"tflite": "tflite", "onnxruntime": "onnx"}[runtime]
    pair = Pair(runtime, small_models / f"int8.{suffix}", small_models / f"float.{suffix}")
    measured = measure(pair, small_models / "images.npy", batch_sizes=(1, 8))
    for run in (measured.candidate, measured.baseline):
        assert list(run.figures) == ["samples_per_s_note", "samples_per_s_batch_1", "samples_per_s_batch_8"]
        assert run.figures["samples_per_s_note"] is None
        assert run.figures["samples_per_s_batch_8"] > run.figures["samples_per_s_batch_1"] > 1000


def with_batch_of_one(source: Path, target: Path) -> None:
    model = onnx.load(source)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, target)


def centred_on_the_batch(_: Path, target: Path) -> None:
    """A network in which each sample of a batch changes the others' outputs."""
    graph = Graph(3, 8, 6)
    flat = graph.add("Flatten", "input")
    graph.add("Sub", flat, graph.add("ReduceMean", flat, axes=[0], keepdims=1))
    onnx.save(graph.model(), target)


@pytest.mark.parametrize(
    ("make", "note"),
    [
        (with_batch_of_one, r"batch 4: its batch is built in: it takes inputs (1, 3, 8, 6)"),
        (centred_on_the_batch, "batch 4: 4 inputs at a time give other outputs than one by one"),
    ],
)
def test_a_model_that_takes_no_batch_says_why(small_models, tmp_path, make, note):
    make(small_models / "float.onnx", tmp_path / "model.onnx")
    pair = Pair("onnxruntime", tmp_path / "model.onnx", small_models / "float.onnx")
    measured = measure(pair, small_models / "images.npy", batch_sizes=(4,))
    assert measured.candidate.figures == {"samples_per_s_note": note, "samples_per_s_batch_4": None}
    assert measured.baseline.figures["samples_per_s_note"] is None
    assert measured.baseline.figures["samples_per_s_batch_4"] > 1000


def test_without_pause_the_first_and_last_tenth_are_told(small_models):
    pair = Pair("tflite", small_models / "int8.tflite", small_models / "float.tflite")
    measured = measure(pair, small_models / "images.npy", sustained_s=1)
    found = measured.candidate.figures
    assert 1 <= found["sustained_s"] < 1.5
    assert (
        found["sustained_inferences"] * found["sustained_first_p50_ms"] > 100
    )  # of 1000 ms, on a busy machine
    assert found["sustained_drift"] == found["sustained_last_p50_ms"] / found["sustained_first_p50_ms"]
    assert {"sustained_frequency_mhz", "sustained_temperature_after_c"} <= set(found)
    assert measured.baseline.figures == {}
