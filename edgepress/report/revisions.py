"""What was measured at a revision of the project, read through DVC."""

from collections.abc import Mapping
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
    """DVC's lock file and both reports."""
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException

    name = revision or "the workspace"
    try:
        files = DVCFileSystem(rev=revision)
        lock = _lock(files)
        if _STAGE not in lock["stages"]:
            raise ArtifactError(f"{name} has no results of {_STAGE}; run there: dvc repro")
        reports = [parse_json(files.read_text(str(metrics_path(each)))) for each in ("accuracy", "latency")]
    except DvcException as error:
        reason, known = " ".join(str(error).split())[:200], "a commit, branch, tag or experiment"
        raise ArtifactError(f"{name}: {reason}; expected {known}, see: dvc exp list") from error
    except (ValueError, KeyError, TypeError) as error:
        detail = f"{type(error).__name__}: {one_line(error, 150)}"
        raise ArtifactError(f"the results of {name} cannot be read ({detail}); run: dvc repro") from error
    except FileNotFoundError as error:
        remedy = "make them with: dvc repro" if revision is None else "where they were made, run: dvc push"
        raise ArtifactError(
            f"the metrics of {name} are not in DVC's cache, nor its remote; {remedy}"
        ) from error
    return lock, reports[0], reports[1]


def _lock(files: Any) -> dict[str, Any]:
    try:
        lock: dict[str, Any] = parse_yaml(files.read_text(_LOCK), _LOCK)
    except FileNotFoundError:
        return {"stages": {}}
    return lock
