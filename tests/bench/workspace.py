"""The project that is measured: a copy of the work tree in a temporary folder, with its own git and cache."""

import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from edgepress.config.device import Local
from edgepress.config.load import load_choice
from tests.pipeline.project import Project, begin_history, copy_work_tree, new_project

RUNTIMES = ("tflite", "onnxruntime")
DEFAULT = "default"

_STARTED = "Running stage '"
_SHOWN = 30


@dataclass(frozen=True)
class Run:
    """How long a `dvc repro` took: the whole, until its first stage began, and by stage."""

    seconds: float
    before: float
    stages: dict[str, float]


@dataclass(frozen=True)
class Bench:
    """What the sections share: a project that ran once, and where models of finished runs are kept.

    With `quick`, networks, data and repetitions are small, and the figures mean little.
    """

    project: Project
    run: Run
    kept: Path
    quick: bool

    @property
    def test_inputs(self) -> Path:
        """The samples to time and predict with; the same in all runs."""
        return self.project.folder / "data/prepared/test/x.npy"

    def device(self) -> Local:
        """How long to time models."""
        config = load_choice("device", {"local": Local}, self.project.folder / "params.yaml")
        assert isinstance(config, Local)
        return config


def prepare(folder: Path, quick: bool) -> Bench:
    """Copy the work tree into a folder and run the pipeline there from nothing."""
    folder.mkdir()
    project = new_project(folder) if quick else _full_project(folder)
    run = repro(project)
    project.commit("Results")
    bench = Bench(project, run, folder.parent / "kept", quick)
    keep(bench, DEFAULT)
    return bench


def compose(project: Project, *overrides: str) -> None:
    """Write `params.yaml` as `dvc exp run -S` would."""
    project.run("python", "-m", "edgepress.cli", "compose", *overrides)


def keep(bench: Bench, name: str) -> None:
    """Keep the models and metrics of the last run, which the next one overwrites."""
    for part in ("models", "metrics"):
        shutil.copytree(bench.project.folder / part, bench.kept / name / part)


def repro(project: Project) -> Run:
    """Run `dvc repro`, saying on stderr where it is."""
    begin = time.perf_counter()
    starts: list[tuple[str, float]] = []
    output: list[str] = []
    with subprocess.Popen(
        ["dvc", "repro"],
        cwd=project.folder,
        env={**project.variables, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            output.append(line)
            if line.startswith(_STARTED):
                starts.append((line.split("'")[1], time.perf_counter() - begin))
                say(f"  {starts[-1][0]}")
    if process.returncode:
        sys.exit("".join([*output[-_SHOWN:], "error: dvc repro failed; its last lines are above"]))
    return _run(starts, time.perf_counter() - begin)


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def _run(starts: list[tuple[str, float]], total: float) -> Run:
    """A stage lasts until the next one begins, so it includes what DVC does with its outputs."""
    lasted = np.diff([moment for _, moment in starts], append=total)
    stages = {name: float(seconds) for (name, _), seconds in zip(starts, lasted, strict=True)}
    return Run(total, starts[0][1] if starts else total, stages)


def _full_project(folder: Path) -> Project:
    copy_work_tree(folder)
    project = Project(folder)
    begin_history(project)
    return project


def bare_project(folder: Path, like: Project, stages: int) -> Project:
    """A DVC project of as many stages as ours, each of which writes one line; the same DVC settings."""
    (folder / ".dvc").mkdir(parents=True)
    for name in (".dvcignore", ".dvc/config", ".dvc/.gitignore"):
        shutil.copy2(like.folder / name, folder / name)
    definition = {f"stage-{n}": _bare_stage(n) for n in range(1, stages + 1)}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": definition}, sort_keys=False))
    project = Project(folder)
    begin_history(project)
    project.dvc("repro")
    project.commit("Results")
    return project


def _bare_stage(number: int) -> dict[str, object]:
    dependency = {"deps": [f"{number - 1}.txt"]} if number > 1 else {}
    return {"cmd": f"echo {number} > {number}.txt", **dependency, "outs": [f"{number}.txt"]}
