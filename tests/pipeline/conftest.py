"""One small run of the whole pipeline, which most tests start from."""

import json
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.pipeline.project import BEFORE_ANY_RUN, Project, clone_project, copy_project, new_project

OBSERVER = Path(__file__).with_name("observer")


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all workers of this session share."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def ran(shared: Path) -> Project:
    """A project after its first `dvc repro`, committed; made once for all workers. Read-only."""
    project = Project(shared / "ran")
    with FileLock(shared / "ran.lock"):
        if not (shared / "ran.done").exists():
            _run_observed(project.folder, shared / "observed")
            (shared / "ran.done").touch()
    return project


@pytest.fixture(scope="session")
def observed(ran: Project, shared: Path) -> dict[str, Any]:
    """By stage, of that run: `cpu_s` of its process, the project's files `opened`, the modules `imported`."""
    return {log.stem: json.loads(log.read_text()) for log in (shared / "observed").glob("*.json")}


@pytest.fixture
def project(ran: Project, tmp_path: Path) -> Project:
    """A copy of the project that ran, to do with as one likes."""
    return copy_project(ran, tmp_path / "project")


@pytest.fixture
def fresh(ran: Project, tmp_path: Path) -> Project:
    """A clone of the same project in which nothing was run yet."""
    return clone_project(ran, tmp_path / "fresh", BEFORE_ANY_RUN)


def _run_observed(folder: Path, logs: Path) -> None:
    folder.mkdir()
    logs.mkdir()
    project = new_project(folder)
    observing = {"PYTHONPATH": str(OBSERVER), "OBSERVER_LOGS": str(logs)}
    Project(folder, observing).dvc("repro")
    project.commit("Results")
