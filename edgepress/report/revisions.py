"""What was measured at a revision of the project, read through DVC."""

import logging
import re
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from edgepress.artifacts import metrics_path
from edgepress.config.load import PARAMS
from edgepress.config.yaml_text import parse_yaml
from edgepress.errors import ArtifactError
from edgepress.files import parse_json
from edgepress.text import one_line

_LOCK = "dvc.lock"
_STAGE = "evaluate-on-device"


@dataclass(frozen=True)
class Run:
    """What one device measured at `revision`.

    `device` is its section of the parameters; `hashes` are those of the files that were read, by their paths.
    """

    revision: str
    accuracy: Mapping[str, Any]
    latency: Mapping[str, Any]
    device: Mapping[str, Any]
    hashes: Mapping[str, str]

    @property
    def error(self) -> str | None:
        """Why a member of a fleet has no reports."""
        error: str | None = self.accuracy.get("error")
        return error


def read_runs(revision: str | None) -> dict[str, Run]:
    """By the devices' names; `revision` is Git's, or an experiment's name, or None for the files as they lie.

    Raises:
        ArtifactError: there is no such revision, nothing was run at it, or its results are out of reach.
    """
    lock, accuracy, latency = _read(revision)
    name, stage = revision or "workspace", lock["stages"][_STAGE]
    device = stage["params"][str(PARAMS)]["device"]
    hashes = {dep["path"]: dep["md5"] for dep in stage["deps"]}
    if "members" not in accuracy:
        return {device["name"]: Run(name, accuracy, latency, device, hashes)}
    members = device["members"]
    return {
        member: Run(name, report, latency["members"][member], members[member], hashes)
        for member, report in accuracy["members"].items()
    }


def _read(revision: str | None) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """DVC's lock file and both reports; DVC's root may lie anywhere below Git's."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    name = revision or "the workspace"
    for library in ("dvc", "dvc_data", "dvc_objects"):
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)  # what they log with tracebacks, we tell
    try:
        with Repo() as repo, repo.switch(revision) if revision else nullcontext():
            return _contents(repo, name)
    except DvcException as error:
        reason, known = one_line(error, 200), "a commit, branch, tag or experiment"
        raise ArtifactError(f"{name}: {reason}; expected {known}, see: dvc exp list") from error
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise _unreadable(name, revision, error) from error


def _unreadable(name: str, revision: str | None, error: Exception) -> ArtifactError:
    """Why what DVC should have is not there."""
    trouble = _remote_trouble()
    if trouble is not None:
        return ArtifactError(f"DVC's cache has no metrics of {name}, and its remote is of no help: {trouble}")
    if isinstance(error, FileNotFoundError):
        remedy = "make them with: dvc repro" if revision is None else "where they were made, run: dvc push"
        return ArtifactError(f"the metrics of {name} are not in DVC's cache, nor its remote; {remedy}")
    detail = f"{type(error).__name__}: {one_line(error, 150)}"
    return ArtifactError(f"the results of {name} cannot be read ({detail}); run: dvc repro")


def _contents(repo: Any, name: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    files = repo.dvcfs
    lock = _lock(files)
    if _STAGE not in lock["stages"]:
        raise ArtifactError(f"{name} has no results of {_STAGE}; run there: dvc repro")
    reports = [parse_json(files.read_text(f"/{metrics_path(each)}")) for each in ("accuracy", "latency")]
    return lock, reports[0], reports[1]


def _remote_trouble() -> str | None:
    """Why the present remote cannot be reached, with the remedy; None if there is none, or if it answers."""
    from dvc.repo import Repo

    with Repo() as repo:
        name = repo.config["core"].get("remote")
        if name is None:
            return None
        if name not in repo.config["remote"]:
            return f".dvc/config has no remote {name!r}, which core.remote names; add it with: dvc remote add"
        url = repo.config["remote"][name]["url"]
        try:
            store = repo.cloud.get_remote(name).odb
            there = store.fs.exists(store.path)
        except Exception as error:  # of any client of any server
            reason = (
                f"{one_line(error, 300) or type(error).__name__} ({url}); mend it, or see: dvc remote list"
            )
            return _without_secrets(reason)
    nothing = f"there is nothing at {url}; check it and the credentials, see: dvc remote list"
    return None if there else _without_secrets(nothing)


def _without_secrets(text: str) -> str:
    """A text without the user and password that addresses in it may hold."""
    return re.sub(r"://[^/\s]*(?:\s[^/\s]*)?@", "://…@", text)


def _lock(files: Any) -> dict[str, Any]:
    try:
        lock: dict[str, Any] = parse_yaml(files.read_text(f"/{_LOCK}"), _LOCK)
    except FileNotFoundError:
        return {"stages": {}}
    return lock
