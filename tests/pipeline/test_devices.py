"""The choice of a device touches the last stage alone, and what was measured is known afterwards."""

import json

from tests.pipeline.project import Project, stages_run

FLEET = ["-S", "device=fleet", "-S", "device.members.xnnpack.kernels.delegate=/absent/library.so"]


def test_another_device_runs_the_last_stage_and_the_way_back_runs_nothing(project: Project) -> None:
    default = project.hashes()
    result = project.dvc("exp", "run", *FLEET)
    assert stages_run(result) == ["evaluate-on-device"]
    assert "warning: member xnnpack failed: " in result.stderr
    members = json.loads(project.read("metrics/latency.json"))["members"]
    assert "delegate /absent/library.so cannot be loaded" in members["xnnpack"]["error"]
    assert members["builtin"]["tflite"]["p50_ms"] > 0
    assert "builtin.tflite.p50_ms" in project.dvc("metrics", "show").stdout
    fleet = project.hashes()
    assert stages_run(project.dvc("exp", "run")) == []
    assert project.hashes() == default
    assert stages_run(project.dvc("exp", "run", *FLEET)) == []
    assert project.hashes() == fleet


def test_what_is_measured_anew_is_what_dvc_restores(project: Project) -> None:
    old = project.hashes()["metrics/latency.json"]
    project.dvc("repro", "--force", "--single-item", "evaluate-on-device")
    new = project.hashes()["metrics/latency.json"]
    assert new != old
    project.dvc("exp", "run", "-S", "device.timing.rounds=3")
    assert stages_run(project.dvc("exp", "run")) == []
    assert project.hashes()["metrics/latency.json"] == new
