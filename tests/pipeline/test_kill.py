"""Killed at any moment, the next `dvc repro` completes with the same hashes."""

import os
import signal
import subprocess
import time
from typing import Any

import psutil

from tests.pipeline.project import STAGES, Project, stages_run

_PATIENCE_S = 120


def test_killed_in_each_stage_a_run_completes_with_the_same_hashes(
    ran: Project, fresh: Project, observed: dict[str, Any]
) -> None:
    for stage in STAGES:
        _kill(fresh, stage, observed[stage]["cpu_s"] * 0.2, everything=True)
        _kill(fresh, stage, observed[stage]["cpu_s"] * 0.5, everything=False)
    assert stages_run(fresh.dvc("repro")) == STAGES[-1:]
    assert fresh.repeatable_hashes() == ran.repeatable_hashes()
    assert fresh.unignored() == ran.unignored()


def _kill(project: Project, stage: str, cpu_s: float, everything: bool) -> None:
    """Start `dvc repro` and send SIGKILL when the process of `stage` has computed for some seconds.

    Args:
        project: In which `stage` is the first that has to run.
        stage: Its name.
        cpu_s: Seconds of CPU time.
        everything: Whether DVC is killed with the stage's process.
    """
    log = project.folder.parent / "killed.txt"
    with (
        log.open("w") as output,
        subprocess.Popen(
            ["dvc", "repro", stage],
            cwd=project.folder,
            env=project.variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as dvc,
    ):
        process = _started(dvc, f"stages.{stage.replace('-', '_')}")
        try:
            while sum(process.cpu_times()[:2]) < cpu_s:
                time.sleep(0.01)
            process.kill()
        except psutil.NoSuchProcess:
            raise AssertionError(f"{stage} ended before it was killed:\n{log.read_text()}") from None
        if everything:
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
        time.sleep(0.02)
    raise AssertionError(f"{module} did not start")
