"""What a user adds to `conf/`, `params.yaml` and `dvc.yaml` is in nobody's way."""

import json

from tests.pipeline.project import Project, stages_run

STAGE = """stages:
  mine:
    cmd: python mine.py
    deps: [mine.py, models/quantize/model.onnx]
    params: [logger.project, budget]
    outs: [mine.txt]
    metrics: [metrics/mine.json]
    plots: [metrics/mine.csv]
"""
PROGRAM = """from pathlib import Path
Path("mine.txt").write_text("mine")
Path("metrics/mine.json").write_text('{"f1": 0.5, "tflite": {"accuracy": "high"}, "nothing": NaN}')
Path("metrics/mine.csv").write_text("step,loss\\n1,2\\n")
"""


def test_a_group_a_section_a_stage_metrics_and_plots_of_ones_own(project: Project) -> None:
    """`make repro` is `check`, `dvc repro` and `results`."""
    config = project.folder / "conf" / "config.yaml"
    config.write_text(
        config.read_text().replace("defaults:", "defaults:\n  - logger: online") + "\nbudget: 3\n"
    )
    logger = project.folder / "conf" / "logger"
    logger.mkdir()
    (logger / "online.yaml").write_text("project: a\n")
    (logger / "files.yaml").write_text("project: b\n")
    pipeline = project.folder / "dvc.yaml"
    pipeline.write_text(pipeline.read_text().replace("stages:\n", STAGE, 1))
    (project.folder / "mine.py").write_text(PROGRAM)

    _edgepress(project, "compose")
    assert _edgepress(project, "check") == "params.yaml is valid and equals conf/\n"
    assert stages_run(project.dvc("repro")) == ["check-params", "check-data", "mine"]
    assert "quantize" in _edgepress(project, "results")
    project.commit("Mine")
    assert stages_run(project.dvc("exp", "run", "-S", "logger=files", "-S", "budget=4")) == [
        "check-params",
        "check-data",
        "mine",
    ]
    assert _edgepress(project, "check").splitlines()[:2] == [
        "budget is 4 in params.yaml but 3 in conf/",
        "logger is 'files' in params.yaml but 'online' in conf/",
    ]
    compared = json.loads(_edgepress(project, "compare", "HEAD", "--json"))
    assert compared
    assert "mine.json" in project.dvc("metrics", "show").stdout


def test_the_branch_of_an_experiment_is_a_valid_variant(project: Project) -> None:
    project.dvc("exp", "run", "-n", "cautious", "-S", "max_drop=0.5")
    project.git("checkout", "--quiet", ".")
    project.dvc("exp", "branch", "cautious", "cautious-net")
    project.git("checkout", "--quiet", "cautious-net")
    told = _edgepress(project, "check").splitlines()
    assert told == [
        "max_drop is 0.5 in params.yaml but 0.05 in conf/",
        "params.yaml is valid and a variant of conf/, composed with other values or edited",
    ]
    project.git("checkout", "--quiet", "main")
    assert _edgepress(project, "check") == "params.yaml is valid and equals conf/\n"
    project.dvc("exp", "apply", "cautious")
    assert _edgepress(project, "check").splitlines() == told


def _edgepress(project: Project, *arguments: str) -> str:
    return project.run("python", "-m", "edgepress", *arguments).stdout
