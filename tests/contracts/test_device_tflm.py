"""TensorFlow Lite Micro: the contract of devices, the tensor arena, and what it cannot run."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from ai_edge_litert.interpreter import OpResolverType

from edgepress.config.device import Tflm
from edgepress.convert.nhwc import convert
from edgepress.devices.base import Device, Pair
from edgepress.devices.registry import open_device
from edgepress.devices.tflm import MicroModel, connect
from edgepress.errors import DeviceError
from edgepress.report.results import render
from tests.compressed import quantised
from tests.contracts.test_device import DeviceContract, make_pair
from tests.last_stage import ROOT, add_stages, make_project, run_stage
from tests.networks import network, task

CALIBRATION = task(64, seed=5).inputs()
ARCHITECTURES = ("resnet8", "mobilenet_v1", "ds_cnn", "mlp")


@pytest.fixture(scope="session")
def built_in_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the built-in architectures; see built_in_models.py."""
    folder = tmp_path_factory.mktemp("built_in_models")
    command = [sys.executable, "-m", "tests.built_in_models", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


class TestTflm(DeviceContract):
    name = "tflm"
    kind = "emulated"
    kernels = OpResolverType.BUILTIN_REF
    resolvers: ClassVar = {"tflite": "TFLM reference kernels"}

    @pytest.fixture(scope="class")
    @classmethod
    def device(cls) -> Device:
        return open_device(Tflm())

    def test_the_arena_is_just_large_enough(self, measured, pair, small_models):
        with connect() as here:
            for run, path in ((measured.candidate, pair.candidate), (measured.baseline, pair.baseline)):
                arena = run.figures["tensor_arena_bytes"]
                model = MicroModel(here, path, small_models / "images.npy")
                assert (model.fits(arena), model.fits(arena - 64)) == (True, False)

    def test_wherever_the_search_begins_it_ends_at_the_same_arena(self, small_models):
        with connect() as here:
            model = MicroModel(here, small_models / "int8.tflite", small_models / "images.npy")
            arenas = {model.smallest_arena(begin) for begin in (0, 2_624, 10_000)}
        assert len(arenas) == 1

    def test_activations_of_16_bits_are_computed_as_in_litert_to_a_few_steps(self, device, tmp_path):
        folder = tmp_path
        (folder / "words.tflite").write_bytes(bytes(convert(quantised("int16x8"), True, CALIBRATION)))
        (folder / "float.tflite").write_bytes(bytes(convert(network(), False, CALIBRATION)))
        np.save(folder / "inputs.npy", CALIBRATION[:20])
        pair = Pair("tflite", folder / "words.tflite", folder / "float.tflite")
        found = device.measure(pair, folder / "inputs.npy").candidate
        agreement = found.figures["reference_agreement"]
        assert agreement["top1"] == 1 and agreement["identical"] > 0.9
        assert np.ptp(found.logits) > 5
        assert found.codes is not None

    def test_operators_without_a_kernel_are_all_named_before_anything_runs(self, device, small_models):
        pair = Pair("tflite", small_models / "rarities.tflite", small_models / "float.tflite")
        message = (
            r"rarities\.tflite has operators that TensorFlow Lite Micro has no kernel for: POW, TILE; use"
        )
        with pytest.raises(DeviceError, match=message):
            device.measure(pair, small_models / "absent.npy")

    def test_what_it_cannot_run_is_refused_in_its_own_words(self, device, small_models):
        pair = Pair("tflite", small_models / "float16.tflite", small_models / "float.tflite")
        message = (
            r"float16\.tflite in tflite failed: .* was not true\. Node DEQUANTIZE .*; quantise it with -S "
        )
        with pytest.raises(DeviceError, match=message + "quant=int8 or choose another device$"):
            device.measure(pair, small_models / "images.npy")

    @pytest.mark.parametrize(
        ("baseline", "remark"),
        [("rarities", "no kernel for: POW, TILE"), ("float16", "Node DEQUANTIZE .* failed to prepare")],
    )
    def test_a_baseline_that_it_cannot_run_costs_its_arena_alone(
        self, device, small_models, baseline, remark
    ):
        pair = make_pair(small_models, "tflite int8")
        pair = dataclasses.replace(pair, baseline=small_models / f"{baseline}.tflite")
        measured = device.measure(pair, small_models / "images.npy")
        assert measured.candidate.figures["tensor_arena_bytes"] > 0
        assert measured.baseline.figures["tensor_arena_bytes"] is None
        assert re.search(remark, measured.baseline.figures["remark"])
        assert measured.baseline.memory is None
        assert len(measured.baseline.output) == 40

    @pytest.mark.parametrize("name", ARCHITECTURES)
    def test_built_in_architectures_give_what_the_reference_kernels_give(self, device, built_in_models, name):
        pair = Pair("tflite", built_in_models / f"{name}.tflite", built_in_models / f"{name}_float.tflite")
        measured = device.measure(pair, built_in_models / "images.npy")
        candidate, baseline = measured.candidate.figures, measured.baseline.figures
        # TFLM rounds a sum twice, LiteRT once: 33.4998 becomes 34 in one, 33 in the other.
        assert candidate["reference_agreement"]["top1"] == 1
        assert candidate["reference_agreement"]["identical"] > 0.99
        assert measured.candidate.output.dtype == np.int8
        assert measured.candidate.output.std(axis=0).min() > 0
        assert 0 < candidate["tensor_arena_bytes"] < baseline["tensor_arena_bytes"]


def test_without_the_package_the_device_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tflite_micro", None)
    message = (
        r"^device tflm needs the package tflite-micro, which is absent; install it with: pip install -e "
    )
    with pytest.raises(DeviceError, match=message + r"'\.\[tflm\]'$"):
        open_device(Tflm())


def test_the_stage_reports_the_arena_in_place_of_times(small_models, tmp_path, monkeypatch):
    project = make_project(tmp_path, small_models, {"name": "tflm"})
    done = run_stage(project, "import sys; assert not {'torch', 'tensorflow'} & {*sys.modules}")
    assert done.returncode == 0, done.stderr
    latency = json.loads((project / "metrics/latency.json").read_text())
    assert (latency["kind"], list(latency)[-1]) == ("emulated", "tflite")
    arenas = latency["tflite"]["tensor_arena_bytes"], latency["tflite"]["baseline_tensor_arena_bytes"]
    assert latency["tflite"]["p50_ms"] is latency["tflite"]["peak_memory_bytes"] is None
    assert done.stdout.endswith(f", tensor arena {arenas[0]:,} bytes (float32 {arenas[1]:,})\n")
    add_stages(project)
    monkeypatch.chdir(project)
    text = render()
    assert re.search(r"^emulated on .*:$", text, re.MULTILINE)
    assert re.search(r"gzip ratio +tensor arena\ntflite .* 2\.7 kB\n", text)
    assert "LiteRT's reference kernels agree on 100.0% of classes and 100.0% of outputs." in text
