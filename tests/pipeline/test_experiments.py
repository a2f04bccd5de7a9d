"""Experiments in a queue, and the tables and pictures that compare them."""

import csv
import io
import json
import time
from pathlib import Path

import pytest
import yaml

from tests.pipeline.project import ROOT, Project, copy_project

CHOICES = ["none", "fp16", "dynamic", "int8", "int8_qat"]
PLOTS = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["plots"]
_PATIENCE_S = 400


@pytest.fixture(scope="module")
def queued(ran: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in whose queue every number format was run, two at a time."""
    project = copy_project(ran, tmp_path_factory.mktemp("queue") / "project")
    project.dvc("exp", "run", "--queue", "-S", f"quant={','.join(CHOICES)}")
    project.dvc("queue", "start", "--jobs", "2")
    try:
        _wait(project)
    finally:
        project.dvc("queue", "stop", "--kill", check=False)
    return project


def test_every_queued_experiment_succeeds(queued: Project) -> None:
    assert _statuses(queued) == ["Success"] * len(CHOICES)


def test_the_table_shows_each_experiment_with_its_params_and_metrics(queued: Project) -> None:
    rows = [row for row in _table(queued) if row["State"] == "Success"]
    assert sorted(row["quant.name"] for row in rows) == sorted(CHOICES)
    for row in rows:
        assert 0 <= float(row["tflite.accuracy"]) <= 1
        assert float(row["tflite.size_gzip_ratio"]) > 0.9
        assert float(row["tflite.p50_ms"]) > 0


ONLY_WITH = {
    "Time of each layer, with device.timing.profile=true",
    "Loss in fine-tuning as int8, with quant=int8_qat",
}
"""Plots whose names say what it takes that they have rows."""


def test_metrics_params_and_plots_can_be_compared_between_commits(project: Project) -> None:
    project.dvc("exp", "run", "-S", "quant=none")
    project.commit("No quantisation")
    metrics = json.loads(project.dvc("metrics", "diff", "HEAD~1", "--json").stdout)
    assert metrics["metrics/accuracy.json"]["tflite.size_ratio"]["diff"] < 0
    params = json.loads(project.dvc("params", "diff", "HEAD~1", "--json").stdout)
    assert params["params.yaml"]["quant.name"] == {"old": "int8", "new": "none"}
    pictures = json.loads(project.dvc("plots", "diff", "HEAD~1", "--json").stdout)["data"]
    assert {name for name, found in pictures.items() if not found} == ONLY_WITH
    assert len(pictures) == len(PLOTS)
    for name in pictures.keys() - ONLY_WITH:
        (picture,) = pictures[name]
        values = picture["content"]["data"]["values"]
        assert {value["rev"] for value in values} == {"workspace", "HEAD~1"}, name
    page = project.dvc("plots", "diff", "HEAD~1").stdout.strip().splitlines()[-1].removeprefix("file://")
    assert Path(page).read_text(encoding="utf-8").count("vegaEmbed(") == len(PLOTS)


def _wait(project: Project) -> None:
    """Until nothing is queued or running."""
    end = time.monotonic() + _PATIENCE_S
    while {"Queued", "Running"} & set(_statuses(project)):
        assert time.monotonic() < end, project.dvc("queue", "status").stdout
        time.sleep(2)


def _statuses(project: Project) -> list[str]:
    """The status of each task in the queue."""
    table = project.dvc("queue", "status").stdout
    return [word for word in table.split() if word in ("Queued", "Running", "Success", "Failed")]


def _table(project: Project) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(project.dvc("exp", "show", "--csv").stdout)))
