"""Networks with any inputs and outputs, through the whole pipeline as a user runs it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.any_networks import detection_heads, write
from tests.pipeline.project import BEFORE_ANY_RUN, STAGES, Project, clone_project, error_lines, stages_run

PLAIN = ["model=onnx", "prune=none", "cluster=none", "data.splits.calibration=32"]
NAMED = ["data=inputs", "data.layout=named"]

RUNS: dict[str, tuple[list[str], float]] = {
    "two inputs": (["quant=int8"], 25),
    "tokens": (["quant=int8"], 20),
    "a state": (["quant=int8"], 20),
    "a fixed batch": (["quant=none"], 100),
    "control flow": (["quant=none", "convert=none"], 100),
}
"""By the network's name, what is chosen, and the least signal over noise of each output in dB."""


@pytest.mark.parametrize("name", RUNS)
def test_it_goes_through_the_whole_pipeline(ran: Project, name: str, tmp_path: Path) -> None:
    path, inputs = write(name, tmp_path)
    choices, least_db = RUNS[name]
    named = [*NAMED, f"data.path={inputs}", f"model.path={path}"]
    project = _composed(ran, tmp_path, *PLAIN, *named, *choices)
    assert stages_run(project.dvc("repro")) == STAGES
    accuracy = _metrics(project, "accuracy")
    present = [runtime for runtime in ("tflite", "onnxruntime") if runtime in accuracy]
    assert present == (["onnxruntime"] if "convert=none" in choices else ["tflite", "onnxruntime"])
    for runtime in present:
        assert accuracy[runtime]["accuracy"] is None
        assert accuracy[runtime]["baseline_agreement"]["min_snr_db"] > least_db
    told = project.run("python", "-m", "edgepress.cli", "results").stdout
    assert "signal over noise" in told
    assert stages_run(project.dvc("repro")) == []
    assert project.dvc("metrics", "show").returncode == 0
    if "convert=none" in choices:
        assert not (project.folder / "models/convert-tflite/model.tflite").exists()
        for reason in (_metrics(project, "convert-tflite")["reason"], accuracy["without_tflite"]):
            assert reason.startswith("convert=none asks for none; ") and "(Det)" in reason
        assert "There is no .tflite: convert=none asks for none; " in told


def test_detection_heads_on_images_are_compared_output_by_output(ran: Project, tmp_path: Path) -> None:
    path, _ = write("detection heads", tmp_path)
    np.save(tmp_path / "images.npy", detection_heads()[1]["images"])
    data = ["data=inputs", f"data.path={tmp_path / 'images.npy'}"]
    project = _composed(ran, tmp_path, *PLAIN, *data, f"model.path={path}", "quant=int8")
    assert stages_run(project.dvc("repro")) == STAGES
    accuracy = _metrics(project, "accuracy")
    for runtime in ("tflite", "onnxruntime"):
        found = accuracy[runtime]["baseline_agreement"]["outputs"]
        assert list(found) == ["boxes", "scores", "features"]
        assert all(25 < figures["snr_db"] < 80 for figures in found.values())
        assert found["features"]["top1"] is None
    assert accuracy["agreement"]["min_snr_db"] > 40
    assert _metrics(project, "quantize")["source_snr_db"] > 25
    project.commit("int8")
    project.run("python", "-m", "edgepress.cli", "compose", *PLAIN, *data, f"model.path={path}", "quant=fp16")
    project.dvc("repro")
    compared = project.run("python", "-m", "edgepress.cli", "compare", "HEAD").stdout
    assert "boxes of float32's" in compared


def test_what_cannot_be_a_tflite_is_refused_before_the_work_with_what_works(
    ran: Project, tmp_path: Path
) -> None:
    path, inputs = write("control flow", tmp_path)
    choices = [*PLAIN, *NAMED, f"data.path={inputs}", f"model.path={path}", "quant=none"]
    project = _composed(ran, tmp_path, *choices)
    result = project.dvc("repro", check=False)
    assert stages_run(result)[-1] == "rehearse"
    (line,) = error_lines(result)
    assert "(Det)" in line and line.endswith("-S convert=none")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["convert=none", "device=tflm"],
            "device is tflm, which runs .tflite files alone, but convert is none",
        ),
        (
            ["data=npz", "data.layout=named", "data.path=x.npz"],
            "model is to be trained on images or vectors",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_at_once(
    project: Project, overrides: list[str], message: str
) -> None:
    chosen = [word for each in overrides for word in ("-S", each)]
    result = project.dvc("exp", "run", *chosen, check=False)
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def _composed(ran: Project, folder: Path, *overrides: str) -> Project:
    """A project in which nothing was run yet, with these choices."""
    project = clone_project(ran, folder / "own", BEFORE_ANY_RUN)
    project.run("python", "-m", "edgepress.cli", "compose", *overrides)
    return project


def _metrics(project: Project, stage: str) -> Any:
    return json.loads(project.read(f"metrics/{stage}.json"))
