"""What was measured at a revision of a project below Git's root; and remotes that do not answer."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from edgepress.errors import ArtifactError
from edgepress.report.revisions import read_runs

PIPELINE = """
stages:
  evaluate-on-device:
    cmd: cp -r made/. metrics/
    deps: [made]
    params: [device]
    metrics: [metrics/accuracy.json, metrics/latency.json]
"""


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in a folder of a Git repository, after a run that is committed."""
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    folder = tmp_path / "repository" / "below" / "project"
    (folder / "made").mkdir(parents=True)
    (folder / "metrics").mkdir()
    run("git", "init", "-q", str(tmp_path / "repository"))
    monkeypatch.chdir(folder)
    run("dvc", "init", "-q", "--subdir")
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "params.yaml").write_text("device: {name: local}\n")
    for name in ("accuracy", "latency"):
        (folder / "made" / f"{name}.json").write_text(json.dumps({"is": name}))
    run("dvc", "repro", "-q")
    run("git", "add", "-A")
    run("git", "-c", "user.name=a", "-c", "user.email=a@b.invalid", "commit", "-qm", "run")
    return folder


@pytest.mark.parametrize("revision", ["HEAD", None])
def test_a_project_below_gits_root_is_read(below: Path, revision: str | None) -> None:
    found = read_runs(revision)["local"]
    assert (found.accuracy["is"], found.latency["is"]) == ("accuracy", "latency")


def test_a_remote_that_is_of_no_help_is_named(below: Path) -> None:
    run("rm", "-rf", ".dvc/cache")
    with pytest.raises(ArtifactError, match="where they were made, run: dvc push"):
        read_runs("HEAD")
    for url, words in (
        ("s3://bucket/x", r"requires 'dvc-s3' to be installed \(s3://bucket/x\)"),
        (os.fspath(below / "absent"), "there is nothing at .*/absent; check it"),
        ("http://me:secret@127.0.0.1:9/x", "there is nothing at http://…@127.0.0.1:9/x; check it"),
    ):
        run("dvc", "remote", "add", "-q", "-f", "-d", "storage", url)
        with pytest.raises(ArtifactError, match=words):
            read_runs("HEAD")
    run("dvc", "config", "-q", "core.remote", "other")
    with pytest.raises(ArtifactError, match=r"has no remote 'other', which core.remote names"):
        read_runs("HEAD")
