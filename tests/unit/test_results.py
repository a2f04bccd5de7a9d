"""The table of results: what it shows, how wide it gets, and what it says where a file is missing."""

import copy
import json
from pathlib import Path

import pytest

from edgepress.errors import ArtifactError
from edgepress.report.results import RUNTIMES, STAGES, render

VALIDATION = {
    "train": 0.99,
    "export-onnx": 0.99,
    "prune": 0.985,
    "cluster": 0.9875,
    "quantize": 0.98,
    "convert-tflite": 0.98,
}
DEVICE = {
    "accuracy": 0.9844,
    "accuracy_drop": 0.0067,
    "size_bytes": 91_234,
    "size_ratio": 3.61,
    "size_gzip_ratio": 8.123,
    "baseline_agreement": {"top1": 0.986, "max_abs_diff": 2.5, "mean_abs_diff": 0.25},
}
LATENCY = {"p50_ms": 0.1234, "speedup": 2.5, "peak_memory_bytes": 45_600_000}


def write(folder: Path, name: str, values: object) -> None:
    (folder / "metrics" / f"{name}.json").write_text(json.dumps(values))


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A folder with the metrics of a run, in which the test works."""
    (tmp_path / "metrics").mkdir()
    for stage, accuracy in VALIDATION.items():
        values = {
            "accuracy": accuracy,
            "size_bytes": 312_345,
            "size_gzip_bytes": 287_654,
            "parameters": 77_360,
        }
        special = {} if stage == "train" else {"sparsity": 0.5, "max_unique_weights": 33}
        write(tmp_path, stage, values | special)
    agreement = {"top1": 1.0, "identical_logits": 0.998, "max_step_diff": 1.0}
    runtimes = {"tflite": DEVICE, "onnxruntime": DEVICE | {"size_bytes": 1_000_000}}
    accuracy = {"baseline_accuracy": 0.9911, "samples": 450, **runtimes, "agreement": agreement}
    write(tmp_path, "accuracy", accuracy)
    device = {"cpu": "Raspberry Pi 4 Model B Rev 1.4", "architecture": "aarch64"}
    latency = {"device": device, "kind": "measured", "threads": 1, "tflite": LATENCY, "onnxruntime": LATENCY}
    write(tmp_path, "latency", latency)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def row(name: str) -> list[str]:
    return next(line.split() for line in render().splitlines() if line.startswith(f"{name} "))


def edit(project: Path, name: str, key: str, value: object) -> None:
    path = project / "metrics" / f"{name}.json"
    values = json.loads(path.read_text())
    changed = copy.deepcopy(values)
    target = changed
    *parents, last = key.split(".")
    for parent in parents:
        target = target[parent]
    target[last] = value
    path.write_text(json.dumps(changed))


def test_every_stage_has_a_row(project):
    prune = ["prune", "0.9850", "312.3", "kB", "287.7", "kB", "50.0%", "33", "77,360"]
    assert row("prune") == prune
    assert [row(stage)[1] for stage in STAGES] == [f"{value:.4f}" for value in VALIDATION.values()]


def test_what_a_stage_does_not_report_is_left_open(project):
    assert row("train")[-3:] == ["–", "–", "77,360"]


def test_every_runtime_has_a_row(project):
    shown = ["0.9844", "0.0067", "91.2", "kB", "3.61×", "8.12×", "0.123", "ms", "2.50×", "45.6", "MB"]
    assert row("tflite")[1:] == shown
    assert row("onnxruntime")[3:5] == ["1.0", "MB"]


def test_energy_has_a_column_where_it_was_measured(project):
    assert "energy" not in render()
    edit(project, "latency", "tflite.energy_uj", 1234.56)
    assert row("tflite")[-2:] == ["1,234.6", "µJ"]
    assert row("onnxruntime")[-1] == "–"


def test_columns_are_aligned_and_no_line_is_too_wide(project):
    for name in ("accuracy", "latency"):
        edit(project, name, "tflite", (DEVICE if name == "accuracy" else LATENCY) | {"size_ratio": 123.456})
    edit(project, "latency", "tflite.p50_ms", 12345.678)
    edit(project, "accuracy", "tflite.size_bytes", 123_456_789)
    edit(project, "latency", "device.cpu", "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz")
    blocks = render().split("\n\n")
    assert max(len(line) for block in blocks for line in block.splitlines()) <= 100
    for table in (blocks[1], blocks[3]):
        assert len({len(line) for line in table.splitlines()}) == 1
        assert not any(line.endswith(" ") for line in table.splitlines())


def test_the_costliest_stage_is_named(project):
    expected = "quantize: 0.75 points, 0.9875 → 0.9800 on validation."
    assert render().splitlines()[-1] == f"The stage that cost most accuracy is {expected}"
    edit(project, "prune", "accuracy", 0.5)
    assert "accuracy is prune: 49.00 points, 0.9900 → 0.5000" in render()


def test_without_classes_nothing_is_claimed(project):
    for stage in STAGES:
        edit(project, stage, "accuracy", None)
    for key in ("baseline_accuracy", *(f"{r}.{k}" for r in RUNTIMES for k in ("accuracy", "accuracy_drop"))):
        edit(project, "accuracy", key, None)
    assert row("prune")[1] == "–"
    assert row("tflite")[1:4] == ["–", "–", "91.2"]
    assert "float32 accuracy –" in render()
    assert render().splitlines()[-1].endswith("gives its float32 model's class for 98.6% of samples.")


@pytest.mark.parametrize(("worst", "told"), [(31.4299, "31.4 dB"), (200.0, "equal")])
def test_the_worst_agreement_by_output_is_told(project, worst, told):
    figures = {"y": {"snr_db": worst, "max_relative_diff": 0.0, "top1": None}}
    edit(project, "accuracy", "baseline_accuracy", None)
    edit(project, "accuracy", "agreement", {"min_snr_db": worst, "outputs": figures})
    for runtime in RUNTIMES:
        alike = {"min_snr_db": worst, "outputs": figures}
        edit(project, "accuracy", f"{runtime}.baseline_agreement", alike)
    *_, runtimes, last = render().splitlines()
    assert runtimes == f"Between the runtimes, at worst: {told}."
    assert last.endswith(f" The .tflite and its float32 model, at worst: {told}.")


def test_no_stage_is_blamed_where_none_lost(project):
    for stage in STAGES:
        edit(project, stage, "accuracy", 0.97)
    assert render().splitlines()[-1] == "No stage cost accuracy on the validation split."


def test_the_machine_and_the_agreement_are_told(project):
    text = render()
    assert "measured on Raspberry Pi 4 Model B Rev 1.4 (aarch64), threads: 1" in text
    assert "100.0% of classes and 99.8% of logits; largest difference in output steps: 1." in text
    edit(project, "accuracy", "agreement.max_step_diff", None)
    assert "99.8% of logits.\n" in render()


def test_stages_that_cost_more_than_they_may_are_warned_of(project):
    assert "warning" not in render(0.05)
    edit(project, "prune", "accuracy", 0.5)
    (line,) = [each for each in render(0.05).splitlines() if each.startswith("warning")]
    assert line.startswith(
        "warning: prune: validation accuracy fell from 0.9900 to 0.5000, more than max_drop=0.05; "
    )
    assert "warning" not in render(0.5)


def test_without_classes_what_counts_is_the_agreement_with_the_stage_before(project):
    for stage in STAGES:
        edit(project, stage, "accuracy", None)
    edit(project, "cluster", "source_agreement", 0.9)
    edit(project, "accuracy", "baseline_accuracy", None)
    text = render(0.05)
    assert (
        "\nwarning: cluster: 10.0% of the validation samples get another class than before, more than "
        in text
    )
    assert "warning" not in render(0.11)


def test_figures_that_are_in_doubt_are_said_to_be(project):
    assert "warning" not in render()
    edit(project, "latency", "onnxruntime.warning", "too noisy")
    assert "\nwarning: onnxruntime: too noisy\n" in render()


@pytest.mark.parametrize("name", [*STAGES, "accuracy", "latency"])
def test_a_missing_file_is_named_with_a_remedy(project, name):
    (project / "metrics" / f"{name}.json").unlink()
    with pytest.raises(ArtifactError, match=rf"metrics/{name}\.json: .*; make it with: dvc repro"):
        render()


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [("prune", "size_bytes", None), ("accuracy", "tflite", 3), ("latency", "tflite.p50_ms", "quick")],
)
def test_a_file_without_a_number_is_named_with_a_remedy(project, name, key, value):
    edit(project, name, key, value)
    with pytest.raises(
        ArtifactError, match=rf"metrics/{name}\.json is corrupt .*no number .*; delete it and run"
    ):
        render()
