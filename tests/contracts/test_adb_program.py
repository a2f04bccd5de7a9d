"""The real `adb`, with a stand-in for the phone; see tests/phone_daemon.py."""

import os
import platform
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgepress.devices.phone import Phone
from edgepress.devices.qemu import cache_folder
from edgepress.errors import DeviceError
from edgepress.provision.debian import cached, host_architecture, unpack
from tests.contracts.test_device import expected_outputs
from tests.phone import StandIn, assert_ends_what_hangs, measure, write_program

DAEMON = Path(__file__).parents[1] / "phone_daemon.py"


@pytest.fixture(scope="session")
def adb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a program `adb`, the computer's own or Debian's; skips where it has none."""
    own = shutil.which("adb")
    if own is not None:
        return Path(own).parent
    try:
        root = cached(cache_folder() / "adb", lambda made: unpack(["adb"], made, host_architecture()))
    except DeviceError as error:
        pytest.skip(f"there is no adb to test with: {error}")
    folder, libraries = (
        tmp_path_factory.mktemp("programs"),
        root / "usr/lib" / f"{platform.machine()}-linux-gnu",
    )
    program = root / "usr/lib/android-sdk/platform-tools/adb"
    paths = f"LD_LIBRARY_PATH={libraries}/android:{libraries}"
    write_program(folder / "adb", f'#!/bin/sh\n{paths} exec {program} "$@"\n')
    return folder


@pytest.fixture(scope="module")
def server(adb: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A server of `adb` that is ours alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{adb}{os.pathsep}{os.environ['PATH']}")
        with socket.create_server(("127.0.0.1", 0)) as free:
            patch.setenv("ANDROID_ADB_SERVER_PORT", str(free.getsockname()[1]))
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield
        subprocess.run(["adb", "kill-server"], check=True, capture_output=True)


@pytest.fixture
def plugged(server: None, tmp_path: Path) -> Iterator["tuple[StandIn, subprocess.Popen[str]]"]:
    """A phone that `adb` is connected with, and its daemon."""
    phone = StandIn(tmp_path)
    environment = {"PATH": f"{phone.root}/bin:/usr/bin:/bin", "HOME": str(phone.root)}
    command, pipe = [sys.executable, str(DAEMON)], subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as daemon:
        phone.serial = daemon.stdout.readline().strip()
        subprocess.run(["adb", "connect", phone.serial], check=True, capture_output=True, timeout=30)
        yield phone, daemon
        subprocess.run(["adb", "disconnect", phone.serial], check=False, capture_output=True, timeout=30)
        daemon.kill()


def test_a_phones_python_measures_and_nothing_of_the_run_is_left(plugged, small_models):
    phone, _ = plugged
    measured = measure(phone, small_models)
    images = np.load(small_models / "images.npy")
    for run, name in ((measured.candidate, "int8.tflite"), (measured.baseline, "float.tflite")):
        np.testing.assert_array_equal(run.output, expected_outputs(small_models / name, images))
        assert (run.timings.durations_ms > 0).all()
    assert measured.machine["cpu"] == "Acme Phone 1 (Fast 2)"
    sent = [file.suffix for file in Path(phone.directory, "files").iterdir()]
    assert sorted(sent) == [".npy", ".pyz", ".tflite", ".tflite"]
    assert not list(Path(phone.directory, "runs").iterdir())


def test_a_phones_benchmark_program_times(plugged, small_models):
    phone, _ = plugged
    measured = measure(phone, small_models, python=None, benchmark=f"{phone.root}/benchmark_model")
    expected = (small_models / "int8.tflite").stat().st_size / 1e3
    assert measured.candidate.timings.durations_ms.tolist() == [[[expected]]] * 2


@pytest.mark.parametrize(
    ("dies", "message"),
    [
        ("exit 3", r"crashed at 'start' \(exit status 3: out of luck\)"),
        ("kill -SEGV $$", r"crashed at 'start' \(SIGSEGV: "),
    ],
)
def test_a_program_that_crashes_is_told(plugged, small_models, dies, message):
    phone, _ = plugged
    write_program(phone.root / "python", f"#!/bin/sh\nread -r request; echo out of luck >&2; {dies}\n")
    with pytest.raises(DeviceError, match=message):
        measure(phone, small_models, python=str(phone.root / "python"))


def test_a_phone_that_is_unplugged_meanwhile_is_told_from_a_crash(plugged, small_models):
    phone, daemon = plugged
    waits = f"touch {phone.root}/reached; sleep 10"
    write_program(phone.root / "python", f"#!/bin/sh\nread -r request; {waits}\n")
    threading.Thread(target=unplug, args=(phone, daemon), daemon=True).start()
    with pytest.raises(DeviceError, match=r"was cut off: phone '.*' is gone; attach it and run again"):
        measure(phone, small_models, python=str(phone.root / "python"))


def unplug(phone: StandIn, daemon: "subprocess.Popen[str]") -> None:
    while not (phone.root / "reached").exists():
        time.sleep(0.1)
    daemon.kill()


def test_a_script_that_is_cut_off_is_no_success(plugged):
    phone, daemon = plugged
    here = Phone(phone.serial, phone.directory)
    here.prepare()
    threading.Thread(target=unplug, args=(phone, daemon), daemon=True).start()
    with pytest.raises(DeviceError, match=r"is offline \(.*connection was lost\); unplug it, plug it in"):
        here.shell(f"echo so far; touch {phone.root}/reached; sleep 10")


def test_what_a_phone_refuses_is_told_in_its_words(plugged, tmp_path):
    phone, _ = plugged
    here = Phone(phone.serial, phone.directory)
    here.prepare()
    with pytest.raises(DeviceError, match=r"cannot be used \(.* frobnicate: not found\); try: adb -s"):
        here.shell("frobnicate")
    with pytest.raises(DeviceError, match=r"cannot be used \(.*/absent.* does not exist\)"):
        here.fetch("/absent", tmp_path / "here")
    with pytest.raises(DeviceError, match=r"^phone 'nobody' is not attached .*; correct device.serial"):
        Phone("nobody", phone.directory).prepare()


def test_a_model_that_hangs_is_ended_on_the_phone(plugged, small_models):
    assert_ends_what_hangs(plugged[0], small_models)
