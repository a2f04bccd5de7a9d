"""The reports of evaluate-on-device: from made-up measurements, and of the stage on small models."""

import csv
import gzip
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from edgepress.config.device import Local, Timing
from edgepress.devices.base import Codes, Measurement, Memory, ModelRun, Pair, Timings
from edgepress.devices.prediction import XNNPACK
from edgepress.errors import DeviceError
from edgepress.report import evaluation
from tests.last_stage import make_project, run_stage

CONFIG = Local(
    XNNPACK,
    Timing(sittings=2, rounds=1, runs_per_round=3, warmup_s=0, ratio_width=9, budget_s=0),
)
CLASSES = np.array([0, 1, 2, 1])
LOGITS = np.array([[5, 1, 0], [0, 7, 1], [1, 2, 9], [8, 0, 1]], np.float32)  # the last one is wrong


def make_run(outputs=LOGITS, codes=None, durations=((2, 2, 2), (2, 2, 2))) -> ModelRun:
    times = np.array(durations, np.float64)[:, np.newaxis]
    timings = Timings(times, np.full(len(times), 3.5), np.full(len(times), 0.25), steady=True)
    given = np.asarray(outputs)
    own = {} if codes is None else {"logits": codes}
    return ModelRun({"logits": given}, own, timings, Memory(5_000_000, 4_000_000), samples=len(given))


def make_measurement(folder: Path, runtime="tflite", candidate=None, baseline=None) -> Measurement:
    pair = Pair(runtime, folder / "candidate", folder / "baseline")
    pair.candidate.write_bytes(bytes(range(200)))
    pair.baseline.write_bytes(b"a" * 1000)
    runs = candidate or make_run(), baseline or make_run()
    return Measurement(pair, *runs, {"cpu": "abacus", "fingerprint": "f00"}, "measured", "1.2.3", "fingers")


def measure_both(folder: Path, **runs: ModelRun) -> dict[str, Measurement]:
    return {name: make_measurement(folder, name, **runs) for name in ("tflite", "onnxruntime")}


def test_accuracies_are_shares_and_drops_are_against_the_same_runtime(tmp_path):
    worse = LOGITS.copy()
    worse[0] = [0, 3, 0]
    measured = measure_both(tmp_path)
    measured["tflite"] = make_measurement(tmp_path, candidate=make_run(worse))
    report = evaluation.accuracy_report(measured, CLASSES)
    assert report["baseline_accuracy"] == 0.75
    assert report["samples"] == 4
    tflite, onnxruntime = report["tflite"], report["onnxruntime"]
    assert (tflite["baseline_accuracy"], tflite["accuracy"], tflite["accuracy_drop"]) == (0.75, 0.5, 0.25)
    assert (onnxruntime["accuracy"], onnxruntime["accuracy_drop"]) == (0.75, 0.0)
    assert report["agreement"]["top1"] == 0.75


def test_the_headline_baseline_is_onnx_runtimes(tmp_path):
    measured = measure_both(tmp_path)
    measured["tflite"] = make_measurement(tmp_path, baseline=make_run(LOGITS[::-1]))
    report = evaluation.accuracy_report(measured, CLASSES)
    assert report["baseline_accuracy"] == report["onnxruntime"]["baseline_accuracy"] == 0.75
    assert report["tflite"]["baseline_accuracy"] != 0.75
    assert (report["kind"], report["fingerprint"]) == ("measured", "f00")


def test_sizes_and_ratios_are_raw_and_gzip_level_9(tmp_path):
    sizes = evaluation.accuracy_report(measure_both(tmp_path), CLASSES)["tflite"]
    candidate, baseline = (
        len(gzip.compress((tmp_path / name).read_bytes(), 9, mtime=0)) for name in ("candidate", "baseline")
    )
    assert (sizes["size_bytes"], sizes["size_gzip_bytes"]) == (200, candidate)
    assert sizes["size_ratio"] == 5
    assert sizes["size_gzip_ratio"] == baseline / candidate


def test_latencies_are_percentiles_and_the_speedup_a_ratio_of_medians(tmp_path):
    candidate = make_run(durations=((1, 2, 3), (1, 2, 9)))
    baseline = make_run(durations=((4, 5, 6), (6, 7, 8)))
    report = evaluation.latency_report(measure_both(tmp_path, candidate=candidate, baseline=baseline), CONFIG)
    assert report["device"] == {"cpu": "abacus", "fingerprint": "f00"}
    assert (report["kind"], report["threads"]) == ("measured", 1)
    tflite = report["tflite"]
    assert tflite["p50_ms"] == 2
    assert tflite["p99_ms"] == pytest.approx(np.percentile([1, 2, 3, 1, 2, 9], 99))
    assert tflite["speedup"] == pytest.approx((5 / 2 * 7 / 2) ** 0.5)
    assert (tflite["load_ms"], tflite["first_ms"], tflite["cold_start_ms"]) == (3.5, 0.25, 3.75)
    assert tflite["peak_memory_bytes"] == 5_000_000
    assert (tflite["runtime_version"], tflite["op_resolver"]) == ("1.2.3", "fingers")


def test_agreement_of_codes_counts_output_steps():
    codes = np.array([[10, 20, 30], [-128, 0, 127], [5, 6, 7]], np.int8)
    tflite = make_run(codes, Codes(scale=0.1, zero_point=-5))
    logits = tflite.logits
    assert evaluation.agreement(tflite, make_run(logits)) == {
        "top1": 1.0,
        "identical_logits": 1.0,
        "max_step_diff": 0.0,
    }
    logits = logits.copy()
    logits[0, 2] -= np.float32(0.2)
    logits[2, 0] += np.float32(0.3)  # now its largest
    assert evaluation.agreement(tflite, make_run(logits)) == {
        "top1": 2 / 3,
        "identical_logits": 7 / 9,
        "max_step_diff": 3.0,
    }


def test_agreement_of_floats_is_relative_to_their_range_and_has_no_steps():
    near, far = LOGITS + np.float32(5e-6) * 9, LOGITS + np.float32(2e-5) * 9
    assert evaluation.agreement(make_run(near), make_run()) == {
        "top1": 1.0,
        "identical_logits": 1.0,
        "max_step_diff": None,
    }
    assert evaluation.agreement(make_run(far), make_run())["identical_logits"] == 0.0


def test_logits_of_codes_are_dequantised_as_onnx_does():
    run = make_run(np.array([[-128, 0, 127]], np.int8), Codes(scale=0.007, zero_point=61))
    expected = (np.array([[-128, 0, 127]], np.float32) - np.float32(61)) * np.float32(0.007)
    np.testing.assert_array_equal(run.logits, expected)
    assert run.logits.dtype == np.float32
    dequantised = replace(run, outputs={"logits": expected})
    np.testing.assert_array_equal(dequantised.logits, expected)


@pytest.mark.parametrize("role", ["candidate", "baseline"])
@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (np.ones((4, 3)), "gives the same outputs for all 4 samples, so the network has collapsed; train"),
        (np.full((4, 3), np.nan), "gives outputs that are NaN or infinite; lower the learning rates"),
        (LOGITS[:, :2], "has 2 outputs, but the data set has 3 classes; run: dvc repro"),
    ],
)
def test_outputs_that_say_nothing_are_refused(tmp_path, role, outputs, message):
    measurement = make_measurement(tmp_path, **{role: make_run(outputs)})
    with pytest.raises(DeviceError, match=f"{role} in tflite {message}"):
        evaluation.check_outputs(measurement, 3)


def test_confusion_cannot_end_the_script_of_the_page_that_shows_it():
    names = ["</script><script>alert(1)</script>", "<DVC_METRIC_DATA>", "<!--", "a", "b"]
    text = evaluation.confusion_csv(make_run(), CLASSES, names).decode()
    assert "‹/script›" in text
    assert not set("<>") & set(text)


def test_confusion_names_classes_and_survives_commas():
    names = ["cat", "dog, small", "owl"]
    rows = list(csv.reader(evaluation.confusion_csv(make_run(), CLASSES, names).decode().splitlines()))
    assert rows == [
        ["actual", "predicted"],
        ["cat"] * 2,
        ["dog, small"] * 2,
        ["owl"] * 2,
        ["dog, small", "cat"],
    ]


@pytest.fixture
def project(tmp_path, small_models) -> Path:
    return make_project(tmp_path, small_models, {"name": "local", **asdict(CONFIG)})


def test_the_stage_writes_all_reports_and_imports_no_framework(project):
    done = run_stage(
        project, "import sys\nassert not {'torch', 'tensorflow', 'tf_keras', 'sklearn'} & {*sys.modules}"
    )
    assert done.returncode == 0, done.stderr
    accuracy = json.loads((project / "metrics/accuracy.json").read_text())
    latency = json.loads((project / "metrics/latency.json").read_text())
    assert {"baseline_accuracy", "tflite", "onnxruntime", "agreement"} <= set(accuracy)
    assert accuracy["agreement"]["top1"] >= 0.9
    assert accuracy["agreement"]["max_step_diff"] is not None
    for runtime in ("tflite", "onnxruntime"):
        assert accuracy[runtime]["size_bytes"] > 0
        assert latency[runtime]["p50_ms"] > 0
        assert latency[runtime]["energy_uj"] is None
        warning = latency[runtime]["warning"]  # without a warm-up no time is steady
        assert "did not become steady" in warning
        assert f"warning: {runtime}: {warning}" in done.stderr.splitlines()
    assert latency["conditions"]["page_cache"] == "warm"
    rows = (project / "metrics/confusion.csv").read_text().splitlines()
    assert rows[0] == "actual,predicted"
    assert len(rows) == 41


def test_the_same_float_network_agrees_across_runtimes(project):
    models = project / "models"
    shutil.copy(models / "convert-tflite/baseline.tflite", models / "convert-tflite/model.tflite")
    shutil.copy(models / "export-onnx/model.onnx", models / "quantize/model.onnx")
    assert run_stage(project).returncode == 0
    report = json.loads((project / "metrics/accuracy.json").read_text())
    assert report["agreement"] == {"top1": 1.0, "identical_logits": 1.0, "max_step_diff": None}
    assert report["tflite"]["size_gzip_ratio"] == report["onnxruntime"]["size_ratio"] == 1


def test_the_accuracy_report_repeats_byte_for_byte(project):
    contents = []
    for _ in range(2):
        assert run_stage(project).returncode == 0
        contents.append((project / "metrics/accuracy.json").read_bytes())
    assert contents[0] == contents[1]


def test_a_collapsed_network_ends_the_stage_in_one_line_with_nothing_written(project, small_models):
    shutil.copy(small_models / "constant.tflite", project / "models/convert-tflite/model.tflite")
    done = run_stage(project)
    assert done.returncode == 1
    expected = "error: models/convert-tflite/model.tflite in tflite gives the same outputs for all 40 samples"
    assert done.stderr.splitlines()[-1].startswith(expected)
    assert not (project / "metrics").exists()
