"""Several devices at once: each member's results are there, whatever becomes of the others."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from edgepress.config.device import CHOICES, Fleet, Local, Timing
from edgepress.config.schema import choose
from edgepress.devices.prediction import XNNPACK
from edgepress.errors import ConfigError
from edgepress.report.results import render
from tests.last_stage import add_stages, make_project, run_stage

LOCAL = Local(
    XNNPACK,
    Timing(sittings=2, rounds=1, runs_per_round=3, warmup_s=0, ratio_width=9, budget_s=0),
)
BUILTIN = replace(LOCAL, kernels=replace(LOCAL.kernels, op_resolver="builtin"))
BROKEN = replace(LOCAL, kernels=replace(LOCAL.kernels, delegate="/absent/libdelegate.so"))


def section(**members: Local) -> dict:
    return {"name": "fleet", "members": {name: {"name": "local", **asdict(m)} for name, m in members.items()}}


def metrics(project: Path, name: str) -> dict:
    return json.loads((project / f"metrics/{name}.json").read_text())


@pytest.fixture(scope="module")
def measured(tmp_path_factory, small_models) -> tuple[Path, str]:
    """A project in which a fleet was measured, one of its members broken, and what the stage said."""
    project = make_project(
        tmp_path_factory.mktemp("fleet"), small_models, section(b=LOCAL, a=BROKEN, c=BUILTIN)
    )
    done = run_stage(project)
    assert done.returncode == 0, done.stderr
    add_stages(project)
    return project, done.stderr


def test_each_member_has_the_reports_of_a_single_device(measured, small_models, tmp_path):
    project, _ = measured
    alone = make_project(tmp_path, small_models, {"name": "local", **asdict(LOCAL)})
    assert run_stage(alone).returncode == 0
    members = metrics(project, "latency")["members"]
    assert metrics(project, "accuracy")["members"]["b"] == metrics(alone, "accuracy")
    assert (project / "metrics/confusion.csv").read_bytes() == (alone / "metrics/confusion.csv").read_bytes()
    assert list(members["b"]["tflite"]) == list(metrics(alone, "latency")["tflite"])
    resolvers = [members[name]["tflite"]["op_resolver"] for name in "bc"]
    assert resolvers == ["BUILTIN with XNNPACK delegate", "BUILTIN without delegate"]


def test_a_member_that_fails_says_why_and_keeps_the_others_and_their_order(measured):
    project, said = measured
    for name in ("accuracy", "latency"):
        members = metrics(project, name)["members"]
        assert list(members) == ["b", "a", "c"]
        assert list(members["a"]) == ["error"]
        assert "delegate /absent/libdelegate.so cannot be loaded" in members["a"]["error"]
    first, last = said.splitlines()[:2]  # others follow: without a warm-up no time is steady
    assert first.startswith("warning: member a failed: models/convert-tflite/model.tflite in tflite failed: ")
    assert last == (
        "warning: without a; when repaired, run: dvc repro --force --single-item evaluate-on-device"
    )


def test_the_results_show_every_member(measured, monkeypatch):
    monkeypatch.chdir(measured[0])
    text = render()
    assert text.count("\ntflite ") == 2
    assert "\n\nb: On the test split (40 samples, " in text
    assert "\n\na failed: models/convert-tflite/model.tflite in tflite failed: " in text
    assert "\nTo measure all members anew: dvc repro --force --single-item evaluate-on-device\n\nc: " in text
    assert text.splitlines()[-1] == "No stage cost accuracy on the validation split."


def test_a_fleet_of_which_all_fail_fails_with_nothing_written(tmp_path, small_models):
    project = make_project(tmp_path, small_models, section(a=BROKEN, b=BROKEN))
    done = run_stage(project)
    assert done.returncode == 1
    message = "error: all members of the fleet failed; the last one, b: models/convert-tflite/model.tflite in"
    assert done.stderr.splitlines()[-1].startswith(message)
    assert not (project / "metrics").exists()


def test_members_are_devices_of_their_own():
    assert choose(CHOICES, section(pi=LOCAL, other=BUILTIN), "device") == Fleet(
        {"pi": LOCAL, "other": BUILTIN}
    )


WRONG = {
    "an empty one": ({}, "device.members is {}; expected 1 to 64 devices by name"),
    "no members": (None, "device.members is None; expected a section with keys"),
    "no section": ({"pi": 3}, "device.members.pi is 3; expected a section with keys"),
    "a fleet": ({"pi": {"name": "fleet"}}, "device.members.pi.name 'fleet' is unknown; expected one of: "),
    "a name with a dot": (section(**{"a.b": LOCAL})["members"], "device.members is 'a.b'; expected names of"),
    "a misspelt key": (
        {"pi": {"name": "local", "kernels": {"thread": 1}}},
        "key 'device.members.pi.kernels.thread' is unknown; .* Did you mean 'device.members.pi.kernels.thr",
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_what_is_no_fleet_is_refused_by_name(mistake):
    members, message = WRONG[mistake]
    with pytest.raises(ConfigError, match="^" + message.replace("{}", r"\{\}")):
        choose(CHOICES, {"name": "fleet", "members": members}, "device")
