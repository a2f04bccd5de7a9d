"""Copies of this repository in folders of their own, and real DVC and git in them."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
STAGES = [
    "check-params",
    "prepare-data",
    "check-data",
    "rehearse",
    "train",
    "export-onnx",
    "prune",
    "cluster",
    "quantize",
    "convert-tflite",
    "evaluate-on-device",
]
NOT_REPEATABLE = "metrics/latency.json"
BEFORE_ANY_RUN = "before-any-run"

_IDENTITY = {"name": "Test", "email": "test@example.invalid"}
_TIMEOUT_S = 600


@dataclass(frozen=True)
class Project:
    """A git repository with the pipeline in it; `environment` is added to that of every command."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def dvc(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run DVC."""
        return self.run("dvc", *arguments, check=check)

    def git(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run git."""
        return self.run("git", *arguments)

    def stage(
        self, module: str, before: Callable[[], None] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run a stage's module by hand; `before` runs in its process before Python starts."""
        return self.run("python", "-m", f"stages.{module}", check=False, before=before)

    def run(
        self, *command: str, check: bool = True, before: Callable[[], None] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command of the environment in this project."""
        result = subprocess.run(
            command,
            cwd=self.folder,
            env=self.variables,
            preexec_fn=before,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        assert not check or result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
        return result

    @property
    def variables(self) -> dict[str, str]:
        """The environment of this process, without the settings and caches of the user's own DVC and git."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "GIT_"))}
        outside = self.folder.parent / f"{self.folder.name}-outside"
        return {
            **kept,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(outside / "site"),
            "DVC_GLOBAL_CONFIG_DIR": str(outside / "global"),
            "DVC_SYSTEM_CONFIG_DIR": str(outside / "system"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            **self.environment,
        }

    def commit(self, message: str) -> None:
        """Commit everything that git does not ignore."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def params(self) -> dict[str, Any]:
        """The content of params.yaml."""
        content: dict[str, Any] = yaml.safe_load(self.read("params.yaml"))
        return content

    def edit_params(self, **changes: Any) -> None:
        """Set values of params.yaml by hand; the keys are dotted, with `__` for the dot."""
        params = self.params()
        for key, value in changes.items():
            *sections, last = key.split("__")
            section = params
            for name in sections:
                section = section[name]
            section[last] = value
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))

    def read(self, name: str) -> str:
        """The text of a file."""
        return (self.folder / name).read_text(encoding="utf-8")

    def hashes(self) -> dict[str, str]:
        """The hash of every output in dvc.lock."""
        stages = yaml.safe_load(self.read("dvc.lock"))["stages"].values()
        return {out["path"]: out["md5"] for stage in stages for out in stage["outs"]}

    def repeatable_hashes(self) -> dict[str, str]:
        """The hashes of all outputs that must be the same in every run."""
        return {path: md5 for path, md5 in self.hashes().items() if path != NOT_REPEATABLE}

    def unignored(self) -> set[str]:
        """The files that git tracks or would offer to add."""
        return set(self.git("ls-files", "--cached", "--others", "--exclude-standard").stdout.splitlines())

    def files(self) -> set[str]:
        """Every file in the folder but those of git, DVC and Python."""
        found = (file.relative_to(self.folder) for file in self.folder.rglob("*") if file.is_file())
        hidden = {".git", ".dvc", "__pycache__"}
        return {file.as_posix() for file in found if not hidden & set(file.parts)}


def stages_run(result: "subprocess.CompletedProcess[str]") -> list[str]:
    """The stages that a DVC command ran, not counting those it restored."""
    return re.findall(r"^Running stage '([\w-]+)':$", result.stdout, flags=re.MULTILINE)


def error_lines(result: "subprocess.CompletedProcess[str]") -> list[str]:
    """What a stage said of its failure."""
    return [line for line in result.stderr.splitlines() if line.startswith("error: ")]


def new_project(folder: Path) -> Project:
    """A repository with the files of this work tree, and settings small enough for a test."""
    copy_work_tree(folder)
    _make_small(folder / "conf")
    project = Project(folder)
    project.run("python", "-m", "edgepress.cli", "compose")
    begin_history(project)
    return project


def copy_work_tree(folder: Path) -> None:
    """Copy all files of this work tree that git does not ignore, and no results."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / "dvc.lock").unlink(missing_ok=True)


def begin_history(project: Project) -> None:
    """Make a folder a git repository and commit what is in it."""
    project.git("init", "--quiet", "--initial-branch=main")
    for key, value in _IDENTITY.items():
        project.git("config", f"user.{key}", value)
    project.commit("Start")
    project.git("tag", BEFORE_ANY_RUN)


def copy_project(project: Project, folder: Path) -> Project:
    """A copy with all results, cache and history, which owes nothing to the original."""
    shutil.copytree(project.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(folder / ".dvc" / "tmp", ignore_errors=True)
    return Project(folder)


def clone_project(project: Project, folder: Path, commit: str = "HEAD") -> Project:
    """A fresh `git clone` at a commit, without any results."""
    project.git("clone", "--quiet", str(project.folder), str(folder))
    clone = Project(folder)
    clone.git("reset", "--quiet", "--hard", commit)
    for key, value in _IDENTITY.items():
        clone.git("config", f"user.{key}", value)
    return clone


def _make_small(conf: Path) -> None:
    for file in conf.glob("*/**/*.yaml"):
        choice = yaml.safe_load(file.read_text(encoding="utf-8"))
        if "fine_tune" in choice:
            choice["fine_tune"]["epochs"] = 1
        if "calibration" in choice:
            choice["calibration"]["samples"] = 32
        choice |= _SMALL.get(str(file.relative_to(conf).with_suffix("")), {})
        file.write_text(yaml.safe_dump(choice, sort_keys=False), encoding="utf-8")
    time_briefly(conf)


def time_briefly(conf: Path) -> None:
    """Let devices measure times for a moment only; by default it is a minute and more."""
    file = conf / "device/parts/timing.yaml"
    brief = {"sittings": 2, "rounds": 2, "runs_per_round": 2, "warmup_s": 0, "budget_s": 0}
    timing = yaml.safe_load(file.read_text(encoding="utf-8"))
    file.write_text(yaml.safe_dump(timing | brief, sort_keys=False), encoding="utf-8")


_SMALL: dict[str, dict[str, Any]] = {
    "data/digits": {"size": 16},
    "model/resnet8": {"width": 4},
    "train/adamw_cosine": {"epochs": 2},
}
