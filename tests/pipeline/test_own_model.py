"""A network that the user brings, trained already, through the whole pipeline."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests import foreign
from tests.networks import network, task
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
    assert stages_run(result)[0] == "train"
    assert "prepare-data" not in stages_run(result)


def test_weights_beside_the_file_are_watched_too(ran: Project, data: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    _save_external(network(), folder)
    path, source = f"model.path={folder / 'net.onnx'}", f"model.source={folder}"
    project = _composed(ran, tmp_path, "model=onnx", path, source, *data)
    assert stages_run(project.dvc("repro", "export-onnx")) == STAGES[:3]
    before = project.hashes()["models/export-onnx/model.onnx"]
    weights = bytearray((folder / "weights.bin").read_bytes())
    weights[3] ^= 0x80  # the sign of the first number
    (folder / "weights.bin").write_bytes(weights)
    assert stages_run(project.dvc("repro", "export-onnx")) == STAGES[1:3]
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
    assert "model.path-is-not-set" in result.stderr
    assert "Traceback" not in result.stderr


def _composed(ran: Project, folder: Path, *overrides: str) -> Project:
    """A project in which nothing was run yet, with these choices."""
    project = clone_project(ran, folder / "own", BEFORE_ANY_RUN)
    project.run("python", "-m", "edgepress.cli", "compose", *overrides)
    return project


def _save_external(model: onnx.ModelProto, folder: Path) -> None:
    path = folder / "net.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
