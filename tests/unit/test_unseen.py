"""Edits that Git does not see after a failed `dvc exp run` are made visible, or end the commit."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from edgepress.config.unseen import show_to_git

HOOKS = Path(__file__).parents[2] / ".githooks"


def git(*arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.invalid")
    return subprocess.run(["git", *identity, *arguments], capture_output=True, text=True, check=check)


@pytest.fixture(params=["", "below/project/"], ids=["at Git's root", "below Git's root"])
def unseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A file with an edit of the same size and second as the index, which is newer: as DVC leaves it."""
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")
    index = tmp_path / ".git" / "index"
    path = tmp_path / request.param / "conf" / "train.yaml"
    path.parent.mkdir(parents=True)
    monkeypatch.chdir(path.parents[1])
    shutil.copytree(HOOKS, ".githooks")
    for _ in range(20):
        time.sleep(1.05 - time.time() % 1)
        path.write_text("epochs: 15\n")
        git("add", "-A")
        git("commit", "--quiet", "--allow-empty", "-m", "start")
        path.write_text("epochs: 16\n")
        later = time.time() + 5
        os.utime(index, (later, later))
        if not git("status", "--short").stdout:
            return path
    pytest.skip("this Git compares more than seconds")


def test_an_edit_that_git_does_not_see_is_seen_afterwards(unseen: Path) -> None:
    assert git("diff", "--stat").stdout == ""
    assert show_to_git() == [Path("conf/train.yaml")]
    assert git("status", "--short").stdout == " M conf/train.yaml\n"
    git("add", "-A")
    assert "epochs: 16" in git("show", ":./conf/train.yaml").stdout
    assert show_to_git() == []


def test_a_commit_does_not_leave_it_out(unseen: Path) -> None:
    prefix = git("rev-parse", "--show-prefix").stdout.strip()  # as `make install` does it
    git("config", "core.hooksPath", f"{prefix}.githooks")
    git("add", "-A")
    refused = git("commit", "--allow-empty", "-m", "without it", check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: Git had not seen the edits in {prefix}conf/train.yaml, after")
    git("add", "-A")
    git("commit", "--quiet", "-m", "with it")
    assert "epochs: 16" in git("show", "HEAD:./conf/train.yaml").stdout


def test_outside_of_a_repository_there_is_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert show_to_git() == []
