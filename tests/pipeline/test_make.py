"""Every target of the Makefile works: `make` runs each at its smallest size."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.pipeline.project import ROOT, Project

BY_CI = {"install", "check", "test"}
"""What `.ci/run` runs as it is."""

SMALLEST = {
    "bench": ("--quick", "The default converter against onnx-tf"),
    "bench-converters": ("--quick --here mobilenet_v2", "yes  mobilenet_v2 float32: latency"),
    "conformance": ("test_relu", "nhwc: 100.0% of 1"),
    "fuzz": ("110 1", "onnx"),
    "zoo": ("--only float squeezenet1_1", "| squeezenet1_1 | SqueezeNet |"),
}
"""The arguments of a target, and what it then prints."""

IN_A_COPY = {"repro", "lock"}
"""What changes the project, so that tests below run it in a copy."""


def test_every_target_is_run_by_a_test() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert phony
    assert set(phony[1].split()) == BY_CI | SMALLEST.keys() | IN_A_COPY


def test_ci_runs_the_targets_that_are_left_to_it() -> None:
    commands = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    assert {"make check", "make test"} <= set(commands)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^check: install$", makefile, flags=re.MULTILINE)


@pytest.mark.parametrize("target", SMALLEST)
def test_a_target_at_its_smallest_size(target: str) -> None:
    arguments, expected = SMALLEST[target]
    done = _make(ROOT, target, f"ARGS={arguments}")
    assert expected in done.stdout, done.stdout + done.stderr


def test_make_repro_runs_the_pipeline_and_tells_its_results(project: Project) -> None:
    _link_environment(project.folder)
    done = _make(project.folder, "repro")
    assert "After each stage" in done.stdout


def test_make_lock_pins_what_is_installed(project: Project) -> None:
    """The lock of this repository is what it writes, hash by hash."""
    _link_environment(project.folder)
    locks = [project.folder / name for name in ("requirements.lock", "edgepress/provision/runtimes.lock")]
    kept = [lock.read_bytes() for lock in locks]
    for lock in locks:
        lock.unlink()
    _make(project.folder, "lock")
    assert [lock.read_bytes() for lock in locks] == kept


def _make(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def _link_environment(folder: Path) -> None:
    """This repository's .venv as the project's, but for the notes that make keeps there."""
    environment = folder / ".venv"
    environment.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (environment / name).symlink_to(ROOT / ".venv" / name)
    (environment / ".installed").touch()
