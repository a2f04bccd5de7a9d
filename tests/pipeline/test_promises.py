"""What the README promises of the default composition, on the whole of the embedded data set."""

import json
from typing import Any

import pytest

from tests.pipeline.project import STAGES, Project, begin_history, copy_work_tree, stages_run, time_briefly

OTHERS = ["mobilenet_v1", "ds_cnn", "mlp"]
"""The networks of this library, but for the default."""

QUICKLY = ["-S", "train.epochs=2", "-S", "prune.fine_tune.epochs=1", "-S", "cluster.fine_tune.epochs=1"]
ALONE = ["-S", "prune=none", "-S", "cluster=none"]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with the default settings, which variants are run in; only its timing is brief."""
    folder = tmp_path_factory.mktemp("full") / "project"
    folder.mkdir()
    copy_work_tree(folder)
    time_briefly(folder / "conf")
    project = Project(folder)
    project.run("python", "-m", "edgepress.cli", "compose")
    begin_history(project)
    return project


def metrics(project: Project, *variant: str) -> dict[str, dict[str, Any]]:
    """Run a variant, and read its metrics by file."""
    project.dvc("exp", "run", *variant)
    return {path.stem: json.loads(path.read_text()) for path in (project.folder / "metrics").glob("*.json")}


def check_int8(found: dict[str, dict[str, Any]]) -> None:
    agreement, converted = found["accuracy"]["agreement"], found["convert-tflite"]
    assert converted["float_tensors"] == 0
    assert converted["transpose_ops"] == 0
    assert agreement["top1"] >= 0.995
    assert agreement["identical_logits"] >= 0.95
    assert agreement["max_step_diff"] <= 2


def test_default_is_small_and_keeps_its_accuracy(full: Project) -> None:
    assert stages_run(full.dvc("repro")) == STAGES
    found = metrics(full)
    accuracy, converted = found["accuracy"], found["convert-tflite"]
    assert accuracy["baseline_accuracy"] >= 0.98
    for runtime in ("tflite", "onnxruntime"):
        assert accuracy[runtime]["accuracy_drop"] <= 0.010
    assert accuracy["tflite"]["size_gzip_ratio"] >= 8
    assert converted["sparsity"] >= 0.49
    assert converted["max_unique_weights"] <= 33
    check_int8(found)


@pytest.mark.parametrize("quant", ["int8", "int8_qat"])
def test_int8_alone_costs_little(full: Project, quant: str) -> None:
    found = metrics(full, *ALONE, "-S", f"quant={quant}")
    accuracy = found["accuracy"]["tflite"]
    assert accuracy["accuracy_drop"] <= 0.003
    assert accuracy["size_ratio"] >= 3.2
    check_int8(found)


@pytest.mark.parametrize(
    ("quant", "cluster"),
    [("int8_qat", "channel_normalised"), ("int8", "per_tensor"), ("int8_qat", "per_tensor")],
)
def test_zeros_and_clusters_survive_to_the_final_file(full: Project, quant: str, cluster: str) -> None:
    found = metrics(full, *QUICKLY, "-S", f"quant={quant}", "-S", f"cluster={cluster}")
    assert found["convert-tflite"]["sparsity"] >= 0.49
    assert found["convert-tflite"]["max_unique_weights"] <= 33
    check_int8(found)


@pytest.mark.parametrize("model", OTHERS)
def test_no_architecture_gets_a_transpose(full: Project, model: str) -> None:
    check_int8(metrics(full, *ALONE, "-S", "train.epochs=2", "-S", f"model={model}"))


@pytest.mark.parametrize("quant", ["none", "int8_qat"])
def test_onnx_tf_converts_and_reports_its_own(full: Project, quant: str) -> None:
    found = metrics(full, *QUICKLY, "-S", "convert=onnx_tf", "-S", f"quant={quant}")
    assert found["convert-tflite"]["converter"] == "onnx_tf"
    assert found["convert-tflite"]["transpose_ops"] > 0
    assert found["accuracy"]["agreement"]["top1"] >= 0.98
