"""The choice of a device touches the last stage alone, and what was measured is known afterwards."""

import dataclasses
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgepress.config.device import Qemu
from edgepress.devices.base import Pair
from edgepress.devices.linux import LinuxDevice
from edgepress.devices.local import LocalHost
from edgepress.devices.prediction import XNNPACK
from edgepress.devices.registry import open_device
from edgepress.report.evaluation import PAIRS
from tests.board import Board
from tests.pipeline.project import BEFORE_ANY_RUN, Project, error_lines, stages_run

MEASURED = ["check-params", "check-data", "evaluate-on-device"]
"""What a new device runs: the checks see all parameters."""

ON_BOARD = ("-S", "device=ssh", "-S", "device.board=board")
FLEET = ["-S", "device=fleet", "-S", "device.members.xnnpack.kernels.delegate=/absent/library.so"]


def compare(project: Project, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    return project.run("python", "-m", "edgepress.cli", "compare", *arguments, check=check)


def test_another_device_runs_the_last_stage_and_the_way_back_runs_nothing(project: Project) -> None:
    default = project.hashes()
    result = project.dvc("exp", "run", *FLEET)
    assert stages_run(result) == MEASURED
    assert "warning: member xnnpack failed: " in result.stderr
    members = json.loads(project.read("metrics/latency.json"))["members"]
    assert "delegate /absent/library.so cannot be loaded" in members["xnnpack"]["error"]
    assert members["builtin"]["tflite"]["p50_ms"] > 0
    assert "builtin.tflite.p50_ms" in project.dvc("metrics", "show").stdout
    fleet = project.hashes()
    refused = compare(project, "HEAD", check=False)
    assert "no device in common: HEAD has local and workspace has xnnpack, builtin" in refused.stderr
    assert stages_run(project.dvc("exp", "run")) == []
    assert project.hashes() == default
    assert stages_run(project.dvc("exp", "run", "-n", "again", *FLEET)) == []
    assert project.hashes() == fleet
    assert "no difference" in compare(project, "again", "again").stdout


def test_what_was_measured_on_a_board_comes_back_without_it(project: Project, board: Board) -> None:
    local = {name: json.loads(project.read(f"metrics/{name}.json")) for name in ("accuracy", "latency")}
    project = dataclasses.replace(project, environment={"EDGEPRESS_SSH": board.command})
    assert stages_run(project.dvc("exp", "run", *ON_BOARD)) == MEASURED
    there = {name: json.loads(project.read(f"metrics/{name}.json")) for name in ("accuracy", "latency")}
    assert there["accuracy"] == local["accuracy"]
    assert there["latency"].keys() == local["latency"].keys()
    assert there["latency"]["kind"] == "measured"
    assert there["latency"]["device"] == local["latency"]["device"]
    for runtime in ("tflite", "onnxruntime"):
        assert there["latency"][runtime].keys() == local["latency"][runtime].keys()
        assert there["latency"][runtime]["p50_ms"] != local["latency"][runtime]["p50_ms"]
        assert there["latency"][runtime]["speedup"] > 0
    assert stages_run(project.dvc("exp", "run")) == []
    board.stop()  # what was measured on a board comes back without it
    try:
        assert stages_run(project.dvc("exp", "run", *ON_BOARD)) == []
    finally:
        board.start()
    assert json.loads(project.read("metrics/latency.json")) == there["latency"]


def test_an_emulated_board_predicts_as_this_computer_and_claims_no_time(
    ran: Project, project: Project, emulated_board: Path, board: Board
) -> None:
    local = json.loads(ran.read("metrics/accuracy.json"))
    project = dataclasses.replace(project, environment={"EDGEPRESS_SSH": board.command})
    board.emulate("pi")
    for device in (["device=qemu_aarch64"], ["device=ssh", "device.board=board", "device.directory=pi"]):
        options = [part for override in device for part in ("-S", override)]
        assert stages_run(project.dvc("exp", "run", *options)) == MEASURED
        accuracy, latency = (json.loads(project.read(f"metrics/{n}.json")) for n in ("accuracy", "latency"))
        assert (latency["kind"], latency["device"]["architecture"]) == ("emulated", "aarch64")
        for runtime in ("tflite", "onnxruntime"):
            assert accuracy[runtime]["accuracy"] == local[runtime]["accuracy"]
            figures = {key: value for key, value in latency[runtime].items() if value is not None}
            assert figures.keys() <= {"runtime_version", "op_resolver"}
        shown = project.run("python", "-m", "edgepress.cli", "results").stdout
        assert "emulated on " in shown


def test_an_emulated_board_gives_the_same_numbers(ran: Project, emulated_board: Path, tmp_path: Path) -> None:
    images = np.load(ran.folder / "data/prepared/test/x.npy")[:60]
    np.save(tmp_path / "x.npy", images)
    there, here = open_device(Qemu("cortex-a72", XNNPACK)), LinuxDevice(LocalHost(), XNNPACK, None)
    for pair in PAIRS:
        files = Pair(pair.runtime, ran.folder / pair.candidate, ran.folder / pair.baseline)
        ours, theirs = (device.measure(files, tmp_path / "x.npy") for device in (here, there))
        assert (ours.candidate.output != ours.candidate.output[0]).any()
        np.testing.assert_array_equal(theirs.candidate.output, ours.candidate.output)
        difference = np.abs(theirs.baseline.output - ours.baseline.output).max()
        assert difference <= 1e-5 * np.ptp(ours.baseline.output)


def test_layers_are_profiled_when_asked(project: Project) -> None:
    head = project.read("metrics/profile.csv")
    assert len(head.splitlines()) == 1
    result = project.dvc("exp", "run", "-S", "device.timing.profile=true")
    assert stages_run(result) == MEASURED
    lines = project.read("metrics/profile.csv").splitlines()
    assert lines[0] == head.strip()
    plots = json.loads(project.dvc("plots", "show", "--json").stdout)["data"]
    (plot,) = next(plots[name] for name in plots if name.startswith("Time of each layer"))
    values = plot["content"]["data"]["values"]
    assert len(values) == len(lines) - 1
    assert {each["runtime"] for each in values} == {"tflite", "onnxruntime"}
    assert plot["content"]["spec"]["encoding"]["y"]["field"] == "layer"


def test_what_is_measured_anew_is_what_dvc_restores(project: Project) -> None:
    old = project.hashes()["metrics/latency.json"]
    project.dvc("repro", "--force", "--single-item", "evaluate-on-device")
    new = project.hashes()["metrics/latency.json"]
    assert new != old
    project.dvc("exp", "run", "-S", "device.timing.rounds=3")
    assert stages_run(project.dvc("exp", "run")) == []
    assert project.hashes()["metrics/latency.json"] == new


def test_runs_are_compared_by_revision_and_experiment(project: Project) -> None:
    project.dvc("exp", "run", "-n", "threaded", "-S", "device.kernels.threads=2")
    shown = compare(project, "main", "threaded")
    assert shown.stdout.count("accuracy") == 2
    for runtime in ("tflite", "onnxruntime"):
        reason = "device.kernels.threads is 1 in main and 2 in threaded"
        assert f"latencies of {runtime} are not compared: {reason}" in shown.stdout
    asked = compare(project, "main", "--latency", check=False)
    assert asked.returncode == 1
    assert error_lines(asked) == [f"error: latencies of tflite are not compared: {reason[:-8]}workspace"]


@pytest.mark.parametrize(
    ("revision", "message"),
    [
        (
            "nonsense",
            "nonsense: unknown Git revision 'nonsense'; expected a commit, branch, tag or experiment",
        ),
        (BEFORE_ANY_RUN, "before-any-run has no results of evaluate-on-device; run there: dvc repro"),
        (
            "main",
            "the metrics of main are not in DVC's cache, nor its remote; where they were made, run: dvc",
        ),
    ],
)
def test_revisions_without_results_are_refused(ran: Project, fresh: Project, revision, message) -> None:
    fresh.git("reset", "--quiet", "--hard", "origin/main")
    result = compare(fresh, revision, check=False)
    assert result.returncode == 1
    assert len(error_lines(result)) == len(result.stderr.splitlines()) == 1
    assert message in result.stderr
