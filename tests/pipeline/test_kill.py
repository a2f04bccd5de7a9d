"""Killed at any moment, the next `dvc repro` completes with the same hashes."""

import os
import signal
import subprocess
import time
from typing import Any

import psutil
import pytest

from tests.pipeline.project import STAGES, Project, stages_run

_PATIENCE_S = 120


@pytest.mark.parametrize("victim", ["stage", "everything"])
def test_killed_in_each_stage_a_run_completes_with_the_same_hashes(
    victim: str, ran: Project, fresh: Project, observed: dict[str, Any]
) -> None:
    for stage in STAGES:
        _kill(fresh, stage, victim, observed[stage]["cpu_s"] * 0.6)
    assert stages_run(fresh.dvc("repro")) == STAGES[-1:]
    assert fresh.repeatable_hashes() == ran.repeatable_hashes()
    assert fresh.unignored() == ran.unignored()


def _kill(project: Project, stage: str, victim: str, cpu_s: float) -> None:
    """Start `dvc repro` and send SIGKILL when the process of `stage` has computed for some seconds."""
    with subprocess.Popen(
        ["dvc", "repro", stage],
        cwd=project.folder,
        env=project.variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as dvc:
        process = _started(dvc, f"stages.{stage.replace('-', '_')}")
        while sum(process.cpu_times()[:2]) < cpu_s:
            time.sleep(0.02)
        process.kill()
        if victim == "everything":
            os.killpg(dvc.pid, signal.SIGKILL)
        assert dvc.wait() != 0


def _started(dvc: "subprocess.Popen[bytes]", module: str) -> psutil.Process:
    """The process that runs a stage's module."""
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end and dvc.poll() is None:
        for child in psutil.Process(dvc.pid).children(recursive=True):
            try:
                if child.cmdline()[-2:] == ["-m", module]:
                    return child
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.05)
    raise AssertionError(f"{module} did not start")
