"""A network that the user brings, trained already, through the whole pipeline."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests import foreign
from tests.networks import CLASSES, network, task
from tests.pipeline.project import BEFORE_ANY_RUN, STAGES, Project, clone_project, stages_run

SCALING = [f"model.mean=[{foreign.MEAN}]", f"model.std=[{foreign.STD}]"]


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    """The choice of data on which `network` was trained."""
    split = task(600, seed=3)
    np.savez(tmp_path / "data.npz", x=split.x, y=split.y)
    return ["data=npz", f"data.path={tmp_path / 'data.npz'}", "data.layout=nchw"]


@pytest.fixture
def keras_like(tmp_path: Path) -> Path:
    """A file of another producer: channels last, probabilities, a batch of one, scaling not included."""
    path = tmp_path / "net.onnx"
    model = foreign.with_softmax(foreign.unscaled())
    onnx.save(foreign.with_batch_of(foreign.with_channels_last(model), 1), path)
    return path


def test_a_network_from_a_file_goes_through_the_whole_pipeline(
    ran: Project, data: list[str], keras_like: Path, tmp_path: Path
) -> None:
    project = _composed(ran, tmp_path, "model=onnx", f"model.path={keras_like}", *SCALING, *data)
    assert stages_run(project.dvc("repro")) == STAGES
    trained, exported = (json.loads(project.read(f"metrics/{s}.json")) for s in ("train", "export-onnx"))
    assert trained["epochs"] == 0
    assert trained["accuracy"] == exported["accuracy"] > 0.85
    assert exported["max_abs_diff"] < 1e-5
    assert project.read("metrics/learning_curves.csv").splitlines() == [
        "epoch,train_loss,validation_loss,validation_accuracy"
    ]
    assert (project.folder / "models/train/model.onnx").read_bytes() == keras_like.read_bytes()
    accuracy = json.loads(project.read("metrics/accuracy.json"))
    assert accuracy["baseline_accuracy"] > 0.85
    assert accuracy["agreement"]["top1"] > 0.98
    assert json.loads(project.read("metrics/prune.json"))["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert json.loads(project.read("metrics/convert-tflite.json"))["transpose_ops"] == 0
    assert stages_run(project.dvc("repro")) == []
    project.dvc("plots", "show")

    onnx.save(network(seed=1), keras_like)
    result = project.dvc("repro", check=False)
    assert stages_run(result)[:2] == ["rehearse", "train"]
    assert "prepare-data" not in stages_run(result)


def test_weights_beside_the_file_are_watched_too(ran: Project, data: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    _save_external(network(), folder)
    path, source = f"model.path={folder / 'net.onnx'}", f"model.source={folder}"
    project = _composed(ran, tmp_path, "model=onnx", path, source, *data)
    assert stages_run(project.dvc("repro", "export-onnx")) == STAGES[: STAGES.index("export-onnx") + 1]
    before = project.hashes()["models/export-onnx/model.onnx"]
    weights = bytearray((folder / "weights.bin").read_bytes())
    weights[3] ^= 0x80  # the sign of the first number
    (folder / "weights.bin").write_bytes(weights)
    assert stages_run(project.dvc("repro", "export-onnx")) == ["rehearse", "train", "export-onnx"]
    assert project.hashes()["models/export-onnx/model.onnx"] != before


def test_a_network_that_does_not_fit_the_data_is_refused_in_one_line(
    project: Project, tmp_path: Path
) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(network(), path)
    project.run("python", "-m", "edgepress.cli", "compose", "model=onnx", f"model.path={path}")
    result = project.stage("train")
    assert result.returncode == 1
    assert result.stderr == (
        f"error: model.path is '{path}': the network takes inputs (2, 8, 8), but the data is (1, 16, 16), "
        "channels first; prepare it in that shape, or export the network for the data's\n"
    )


def test_no_path_is_named(project: Project) -> None:
    result = project.dvc("exp", "run", "-S", "model=onnx", check=False)
    assert result.returncode != 0
    assert "ERROR: model.path is not set; give it a value" in result.stderr
    assert "Traceback" not in result.stderr


def _composed(ran: Project, folder: Path, *overrides: str) -> Project:
    """A project in which nothing was run yet, with these choices."""
    project = clone_project(ran, folder / "own", BEFORE_ANY_RUN)
    project.run("python", "-m", "edgepress.cli", "compose", *overrides)
    return project


def _save_external(model: onnx.ModelProto, folder: Path) -> None:
    path = folder / "net.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)


def test_inputs_without_classes_calibrate_and_compare(ran: Project, keras_like: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "inputs.npy", task(200, seed=3).x)
    model = ["model=onnx", f"model.path={keras_like}", *SCALING]
    data = ["data=inputs", f"data.path={tmp_path / 'inputs.npy'}", "data.splits.calibration=64"]
    teaching = ["prune.sparsity=0.2", "prune.fine_tune.distillation=1", "cluster.fine_tune.epochs=0"]
    project = _composed(ran, tmp_path, *model, *data, *teaching)
    assert stages_run(project.dvc("repro")) == STAGES
    for stage in (*STAGES[STAGES.index("train") : -1], "accuracy"):
        assert set(_accuracies(json.loads(project.read(f"metrics/{stage}.json")))) == {None}
    assert json.loads(project.read("metrics/prune.json"))["sparsity"] == pytest.approx(0.2, abs=0.01)
    report = json.loads(project.read("metrics/accuracy.json"))
    assert report["tflite"]["baseline_agreement"]["top1"] > 2 / CLASSES
    assert report["agreement"]["top1"] > 0.98
    assert project.read("metrics/confusion.csv") == "actual,predicted\n"
    assert "The data has no classes." in project.run("python", "-m", "edgepress.cli", "results").stdout
    project.dvc("plots", "show")


@pytest.mark.parametrize("stage", ["train", "prune", "cluster", "quantize"])
def test_what_needs_classes_says_so_before_it_starts(project: Project, tmp_path: Path, stage: str) -> None:
    np.save(tmp_path / "inputs.npy", task(200, seed=3).x)
    path = project.folder / "data" / "prepared" / "train" / "y.npy"
    y = np.load(path)
    path.unlink()
    np.save(path, np.full_like(y, -1))
    if stage == "quantize":
        project.run("python", "-m", "edgepress.cli", "compose", "quant=int8_qat")
    result = project.stage(stage)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "the data has no classes to learn; expected " in line


def test_the_check_refuses_learning_without_classes(project: Project) -> None:
    overrides = ["data=inputs", "data.path=x.npy", "model=onnx", "model.path=net.onnx"]
    command = ("python", "-m", "edgepress.cli", "compose", *overrides)
    result = project.run(*command, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("error: prune.fine_tune.epochs is 1, but the data has no classes")
    assert "resnet8" in project.read("params.yaml")


def _accuracies(values: dict[str, Any]) -> list[Any]:
    """All that a metrics file says of accuracy."""
    inner = [each for value in values.values() if isinstance(value, dict) for each in _accuracies(value)]
    return [value for key, value in values.items() if "accuracy" in key] + inner


DECLARED = Path(__file__).parents[1] / "torchvision_declared"


@pytest.fixture
def with_torchvision(ran: Project, tmp_path: Path) -> Project:
    """A project in which nothing was run yet, whose processes can import torchvision."""
    fresh = clone_project(ran, tmp_path / "fresh", BEFORE_ANY_RUN)
    plain = fresh.run("python", "-W", "ignore", "-c", "import torchvision", check=False)
    return fresh if plain.returncode == 0 else Project(fresh.folder, {"PYTHONPATH": str(DECLARED)})


def test_a_network_of_timm_goes_through_the_whole_pipeline(with_torchvision: Project) -> None:
    choice = ["model=timm", "model.name=mobilenetv3_small_050", "train.epochs=1", "cluster=none"]
    result = with_torchvision.dvc("exp", "run", *(part for override in choice for part in ("-S", override)))
    assert stages_run(result) == STAGES
    assert with_torchvision.params()["model"]["name"] == "mobilenetv3_small_050"
    pruned, converted = (
        json.loads(with_torchvision.read(f"metrics/{stage}.json")) for stage in ("prune", "convert-tflite")
    )
    assert pruned["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert converted["transpose_ops"] == 0
    assert json.loads(with_torchvision.read("metrics/accuracy.json"))["agreement"]["top1"] > 0.9


def test_a_network_of_torchvision_trains_the_same_twice(with_torchvision: Project) -> None:
    overrides = ["model=timm", "model.name=shufflenet_v2_x0_5", "train.epochs=1"]
    with_torchvision.run("python", "-m", "edgepress.cli", "compose", *overrides)
    until_exported = STAGES[: STAGES.index("export-onnx") + 1]
    assert stages_run(with_torchvision.dvc("repro", "export-onnx")) == until_exported
    before = with_torchvision.hashes()
    again = ["train", "export-onnx"]
    assert stages_run(with_torchvision.dvc("repro", "--force", "--single-item", *again)) == again
    assert with_torchvision.hashes() == before
