"""Android phones: our side of the protocol, with a stand-in for `adb`; see tests/phone.py."""

import dataclasses
import sys
from pathlib import Path

import pytest

from edgepress.config.device import Adb
from edgepress.config.schema import build
from edgepress.devices.base import Device
from edgepress.devices.prediction import XNNPACK
from edgepress.devices.registry import open_device
from edgepress.errors import ConfigError, DeviceError
from edgepress.profiling.profile import profile
from tests.contracts.test_device import DeviceContract
from tests.phone import (
    PROPERTIES,
    SERIAL,
    TIMING,
    StandIn,
    assert_ends_what_hangs,
    config,
    measure,
    write_program,
)


class TestAdb(DeviceContract):
    name = "adb"

    @pytest.fixture(scope="class")
    @classmethod
    def device(cls, phone: StandIn) -> Device:
        return open_device(config(phone))

    def test_the_machine_is_what_the_phone_says_it_is(self, measured):
        assert measured.machine["cpu"] == "Acme Phone 1 (Fast 2)"
        assert measured.machine["system"] == "Android 15"
        assert PROPERTIES["ro.boot.serialno"] not in str(measured.machine)

    def test_single_operators_are_timed_on_the_phone(self, device, small_models):
        found = profile(device, "tflite", [small_models / "int8.tflite"], None, runs=1)
        assert sum(row.candidate.ms for row in found.rows) > 0

    def test_files_are_sent_once_and_nothing_of_a_run_is_left(self, measured, phone):
        sent = [line.split()[1] for line in phone.asked("push")]
        assert len(sent) == len(set(sent)) > 0
        ours = Path(phone.directory)
        assert not list((ours / "runs").iterdir())
        assert not [file for file in (ours / "files").iterdir() if file.suffix == ".part"]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            "device unauthorized.",
            r"has not allowed this computer in .*; unlock it, confirm the dialog and run",
        ),
        ("device offline", r"is offline .*; unplug it, plug it in and run again"),
        ("closed", r"cannot be used \(error: closed\); try: adb -s emulator-5554 shell"),
    ],
)
def test_a_phone_that_cannot_be_used_says_why(own_phone, small_models, state, message):
    own_phone.become(state)
    with pytest.raises(DeviceError, match=rf"^phone '{SERIAL}' {message}"):
        measure(own_phone, small_models)


def test_a_phone_that_is_not_attached_is_named(own_phone, small_models):
    with pytest.raises(
        DeviceError, match=r"^phone 'other' is not attached .*; correct device.serial; .* adb devices"
    ):
        measure(own_phone, small_models, serial="other")


def test_a_computer_without_adb_is_told_what_to_install(own_phone, small_models, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(
        DeviceError, match=r"^adb cannot be started: No such file .*; install Android's platform"
    ):
        measure(own_phone, small_models)


def test_a_phone_without_that_python_says_so(own_phone, small_models):
    with pytest.raises(DeviceError, match=r"found no Python at '/absent/python' .*; correct device.python"):
        measure(own_phone, small_models, python="/absent/python")


def test_a_python_without_the_runtime_says_so(own_phone, small_models):
    hide = "import runpy, sys; sys.modules['ai_edge_litert.interpreter'] = None"
    code = f"{hide}; runpy.run_path(sys.argv[-1], run_name='__main__')"
    write_program(own_phone.root / "python", f'#!/bin/sh\nexec "{sys.executable}" -c "{code}" "$@"\n')
    python = str(own_phone.root / "python")
    message = (
        rf"ai-edge-litert cannot be imported: .*; install ai-edge-litert with: {python} -m pip, on the phone"
    )
    with pytest.raises(DeviceError, match=message):
        measure(own_phone, small_models, python=python)


def test_python_may_be_a_command(own_phone, small_models):
    measure(own_phone, small_models, python=f"env GREETING='good day' {sys.executable}")


def test_a_phone_with_a_full_disk_says_so(own_phone, small_models):
    adb = own_phone.programs / "adb"
    full = "sys.exit(\"adb: error: failed to copy 'a' to 'b': remote write failed: No space left on device\")"
    adb.write_text(adb.read_text().replace("        shutil.copyfile(*rest)", f"        {full}"))
    with pytest.raises(
        DeviceError, match=r"has a full disk .*; free some space there, or set device.directory"
    ):
        measure(own_phone, small_models)


def test_a_phone_that_is_unplugged_meanwhile_is_told_from_a_crash(own_phone, small_models):
    unplug = f"printf 'device offline' > {own_phone.root}/state; kill -KILL $$"
    write_program(own_phone.root / "python", f"#!/bin/sh\nread -r request; {unplug}\n")
    with pytest.raises(
        DeviceError, match=rf"was cut off: phone '{SERIAL}' is gone .*; attach it and run again"
    ):
        measure(own_phone, small_models, python=str(own_phone.root / "python"))


def test_a_program_that_crashes_is_told_from_an_unplugged_phone(own_phone, small_models):
    write_program(own_phone.root / "python", "#!/bin/sh\nread -r request; echo out of luck >&2; exit 3\n")
    with pytest.raises(DeviceError, match=r"crashed at 'start' \(exit status 3: out of luck\)"):
        measure(own_phone, small_models, python=str(own_phone.root / "python"))


def test_an_emulator_says_nothing_about_time_and_memory(own_phone, small_models):
    with (own_phone.root / "properties").open("a") as file:
        file.write("ro.boot.qemu 1\n")
    measured = measure(own_phone, small_models)
    assert measured.kind == "emulated"
    assert (measured.candidate.timings, measured.candidate.memory) == (None, None)
    with pytest.raises(DeviceError, match="this device is emulated, so its times say nothing"):
        profile(open_device(config(own_phone)), "tflite", [small_models / "int8.tflite"], None, runs=1)


def test_a_model_that_hangs_is_ended_on_the_phone(own_phone, small_models):
    assert_ends_what_hangs(own_phone, small_models)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"serial": "-a"}, "device.serial is '-a'; expected a phone as `adb devices` lists it"),
        ({"serial": "two words"}, "device.serial is 'two words'; expected"),
        (
            {"python": None},
            "device.python is None; expected the path of Python on the phone or, instead, device.b",
        ),
        (
            {"benchmark": "/b"},
            f"device.python is '{sys.executable}'; expected the path of Python on the phone",
        ),
        (
            {
                "python": None,
                "benchmark": "/b",
                "kernels": dataclasses.asdict(XNNPACK) | {"op_resolver": "reference"},
            },
            "device.kernels.op_resolver is 'reference'; expected xnnpack or builtin with device.benchmark",
        ),
        (
            {"python": None, "benchmark": "/b", "timing": dataclasses.asdict(TIMING) | {"sustained_s": 9}},
            "device.timing.sustained_s is 9.0; expected 0 with device.benchmark",
        ),
        ({"directory": "here"}, "device.directory is 'here'; expected an absolute path on the phone"),
    ],
)
def test_what_names_no_phone_is_refused(phone, change, message):
    raw = dataclasses.asdict(config(phone)) | change
    with pytest.raises(ConfigError, match=message):
        build(Adb, raw, "device")
