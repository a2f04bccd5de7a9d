"""`edgepress device check` of devices that are no boards; of a board, see test_device_ssh.py."""

import os
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest

from edgepress.cli import main
from tests.phone import SERIAL, StandIn

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def checked(name: str, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    assert main(["device", "check", name]) == 0
    return {line[:16].strip(): line[16:] for line in capsys.readouterr().out.splitlines()}


def test_this_computer_is_described(capsys):
    told = checked("local", capsys)
    assert f"{os.cpu_count()} cores" in told["machine"]
    assert told["ai-edge-litert"] == version("ai-edge-litert")


@pytest.mark.parametrize(("name", "package"), [("tflm", "tflite-micro"), ("ethos_u", "ethos-u-vela")])
def test_what_only_one_device_needs_is_told(name, package, capsys):
    assert checked(name, capsys)[package] == version(package)


def test_the_emulated_board_is_what_it_shows(emulated_board, capsys):
    told = checked("qemu_aarch64", capsys)
    assert "aarch64" in told["machine"]
    assert told["onnxruntime"] == version("onnxruntime")


@pytest.mark.parametrize(
    ("python", "expected"), [("/no/python", "found no Python at '/no/python'"), ("python3", None)]
)
def test_a_phone_is_described_by_its_own_properties(project, own_phone: StandIn, capsys, python, expected):
    lines = ["defaults:", "  - adb", "  - _self_", f"serial: {SERIAL}", f"directory: {own_phone.directory}"]
    (project / "conf/device/mine.yaml").write_text("\n".join([*lines, f"python: {python}", ""]))
    if expected:
        assert main(["device", "check", "mine"]) == 1
        assert expected in capsys.readouterr().err
    else:
        assert "Acme Phone 1 (Fast 2)" in checked("mine", capsys)["machine"]


def test_a_fleet_has_members(capsys):
    assert main(["device", "check", "fleet"]) == 1
    assert "fleet is a fleet; name one of its members: xnnpack, builtin" in capsys.readouterr().err
