"""A stand-in for `adb` and the phone behind it: a program of that name which runs all of it on this computer.

So what our side says to `adb`, and what it makes of the answers, is tested; a phone is not.
"""

import dataclasses
import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from edgepress.config.device import Adb, Timing
from edgepress.devices.adb import AdbHost
from edgepress.devices.base import Measurement, Pair
from edgepress.devices.linux import LinuxDevice
from edgepress.devices.phone import Phone
from edgepress.devices.prediction import XNNPACK
from edgepress.devices.registry import open_device
from edgepress.errors import DeviceError

TIMING = Timing(sittings=2, rounds=1, runs_per_round=3, warmup_s=0, ratio_width=9, budget_s=0)
SERIAL = "emulator-5554"
PROPERTIES = {
    "ro.product.manufacturer": "Acme",
    "ro.product.model": "Phone 1",
    "ro.soc.model": "Fast 2",
    "ro.build.version.release": "15",
    "ro.boot.serialno": "0123456789",
}

_ADB = """#!{python} -I
import shutil, subprocess, sys
option, serial, verb, *rest = sys.argv[1:]
state = open("{root}/state").read()
if (option, serial) != ("-s", "{serial}"):
    sys.exit(f"error: device '{{serial}}' not found")
if state != "device":
    sys.exit("error: " + state)
with open("{root}/log", "a") as log:
    print(verb, *rest, file=log)
if verb == "get-state":
    print(state)
elif verb == "shell" and rest[0] == "-T":
    environment = {{"PATH": "{root}/bin:/usr/bin:/bin", "HOME": "{root}"}}
    command = ["/bin/sh", "-c", " ".join(rest[1:])]
    # What runs on a phone does not end with adb.
    status = subprocess.Popen(command, env=environment, start_new_session=True).wait()
    sys.exit(status if status >= 0 else 128 - status)
elif verb in ("push", "pull"):
    try:
        shutil.copyfile(*rest)
    except OSError as error:
        sys.exit(f"adb: error: failed to copy '{{rest[0]}}' to '{{rest[1]}}': {{error.strerror}}")
    print("1 file copied")
else:
    sys.exit(f"adb: unknown command {{verb}}")
"""

_GETPROP = """#!/bin/sh
while read -r name value; do [ "$name" = "$1" ] && echo "$value" && exit; done < {root}/properties
echo
"""


_BENCHMARK = """#!{python} -I
import os, sys
options = dict(argument.split("=", 1) for argument in sys.argv[1:])
size = os.path.getsize(options["--graph"])
if open(options["--graph"], "rb").read(8)[4:] != b"TFL3":
    sys.exit("ERROR: Failed to load model")
with open("{root}/benchmarked", "a") as log:
    print(*sys.argv[1:], file=log)
if options["--use_xnnpack"] == "true":
    by = "completely executed by the delegate."
    print("INFO: Explicitly applied XNNPACK delegate, and the model graph will be", by)
print("INFO: count=9 first=99 curr=99 min=99 max=99 avg=99 std=0 p5=99 median=99 p95=99")
print(f"INFO: count=50 first=9 curr=9 min=9 max={{9e5:g}} avg={{size:g}} std=7 p5=9 median={{size}} p95=9")
print("INFO: Inference timings in us: Init: 5500, First inference: 1500, Warmup (avg): 9, Inference (avg): 9")
"""


class StandIn:
    """The phone's folder, which holds its programs, and beside it that of `adb`, which belongs on PATH."""

    def __init__(self, folder: Path) -> None:
        self.serial = SERIAL
        self.root, self.programs = folder / "phone", folder / "programs"
        for path in (self.root / "bin", self.programs):
            path.mkdir(parents=True)
        names = {"python": sys.executable, "root": self.root, "serial": SERIAL}
        write_program(self.programs / "adb", _ADB.format(**names))
        write_program(self.root / "bin" / "getprop", _GETPROP.format(**names))
        write_program(self.root / "benchmark_model", _BENCHMARK.format(**names))
        lines = [f"{name} {value}\n" for name, value in PROPERTIES.items()]
        (self.root / "properties").write_text("".join(lines))
        self.become("device")

    def attach(self, patch: pytest.MonkeyPatch) -> "StandIn":
        """Make this `adb` the one that is found."""
        patch.setenv("PATH", f"{self.programs}{os.pathsep}{os.environ['PATH']}")
        return self

    @property
    def directory(self) -> str:
        return f"{self.root}/ours"

    def become(self, state: str) -> None:
        """What `adb` says of it from now on: device, device unauthorized, …"""
        (self.root / "state").write_text(state)

    def asked(self, verb: str) -> list[str]:
        """The arguments of each such command that `adb` was given."""
        lines = (self.root / "log").read_text().splitlines()
        return [line.removeprefix(f"{verb} ") for line in lines if line.startswith(f"{verb} ")]


def write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def config(phone: StandIn, **changes: object) -> Adb:
    """The phone with this computer's Python, unless changed."""
    usual = Adb(phone.serial, sys.executable, None, phone.directory, XNNPACK, TIMING)
    return dataclasses.replace(usual, **changes)


def measure(phone: StandIn, models: Path, **changes: object) -> Measurement:
    """Of the small models."""
    pair = Pair("tflite", models / "int8.tflite", models / "float.tflite")
    return open_device(config(phone, **changes)).measure(pair, models / "images.npy")


def assert_ends_what_hangs(phone: StandIn, models: Path) -> None:
    """What hangs on the phone is ended there, not only here."""
    pids = phone.root / "pids"
    note = f"import os, time; open('{pids}', 'a').write(f'{{os.getpid()}}\\n')"
    hang = "input(); print('{\\\"pid\\\": %d}' % os.getpid(), flush=True); input(); time.sleep(60)"
    write_program(phone.root / "python", f'#!/bin/sh\nexec "{sys.executable}" -c "{note}; {hang}"\n')
    host = AdbHost(Phone(phone.serial, phone.directory), str(phone.root / "python"))
    device, begin = LinuxDevice(host, XNNPACK, None, timeout_s=2), time.monotonic()
    pair = Pair("tflite", models / "int8.tflite", models / "float.tflite")
    with pytest.raises(DeviceError, match="gave no answer to 'load' within 2 s"):
        device.measure(pair, models / "images.npy")
    assert time.monotonic() - begin < 50  # it sleeps for longer
    (pid,) = map(int, pids.read_text().split())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
