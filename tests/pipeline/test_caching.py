"""Nothing is computed twice, neither here nor by a colleague."""

import json
from pathlib import Path

import pytest

from tests.pipeline.project import Project, clone_project, copy_project, stages_run

AFTER_QUANTISATION = [
    "check-params",
    "check-data",
    "rehearse",
    "quantize",
    "convert-tflite",
    "evaluate-on-device",
]


def test_a_second_repro_runs_nothing(project: Project) -> None:
    result = project.dvc("repro")
    assert stages_run(result) == []
    assert result.stdout.rstrip().endswith("Data and pipelines are up to date.")


def test_a_variant_runs_only_what_it_changes_and_is_restored_later(project: Project) -> None:
    default = project.hashes()
    assert stages_run(project.dvc("exp", "run", "-S", "quant=fp16")) == AFTER_QUANTISATION
    variant = project.hashes()
    assert stages_run(project.dvc("exp", "run")) == []
    assert project.hashes() == default
    assert stages_run(project.dvc("exp", "run", "-S", "quant=fp16")) == []
    assert project.hashes() == variant


def test_no_value_of_data_is_overlooked(project: Project) -> None:
    """DVC's run cache leaves out keys called `size`, and restored the images of another size."""
    project.edit_params(data__size=12)
    assert stages_run(project.dvc("repro", "prepare-data")) == ["check-params", "prepare-data"]
    assert json.loads(project.read("data/prepared/description.json"))["input_shape"] == [1, 12, 12]


def test_a_colleagues_variant_comes_through_the_remote(ran: Project, tmp_path: Path) -> None:
    ours = copy_project(ran, tmp_path / "ours")
    ours.dvc("remote", "add", "--default", "storage", str(tmp_path / "remote"))
    ours.commit("Add the remote")
    ours.dvc("push", "--run-cache")
    early = clone_project(ours, tmp_path / "early")
    assert stages_run(ours.dvc("exp", "run", "-S", "quant=dynamic")) == AFTER_QUANTISATION
    ours.dvc("push", "--run-cache")
    ours.commit("Dynamic range")
    late = clone_project(ours, tmp_path / "late")

    _gets(early, "quant=dynamic", ours, "--pull")  # the commit does not name the variant's files
    _gets(late, "quant=dynamic", ours)


def _gets(theirs: Project, variant: str, ours: Project, *options: str) -> None:
    theirs.dvc("pull", "--run-cache")
    assert stages_run(theirs.dvc("repro")) == []
    assert stages_run(theirs.dvc("exp", "run", *options, "-S", variant)) == []
    assert theirs.hashes() == ours.hashes()


def test_an_edit_of_a_stages_code_runs_that_stage(project: Project) -> None:
    module = project.folder / "stages" / "evaluate_on_device.py"
    module.write_text(module.read_text() + "\n# edited\n")
    assert stages_run(project.dvc("repro")) == ["evaluate-on-device"]


@pytest.mark.parametrize("path", ["models/prune/model.onnx", "models/train/model.pt"])
def test_a_damaged_model_is_restored_without_running_anything(project: Project, path: str) -> None:
    before = project.hashes()
    (project.folder / path).write_bytes(b"damaged")
    assert stages_run(project.dvc("repro")) == []
    assert (project.folder / path).read_bytes() != b"damaged"
    assert project.hashes() == before
