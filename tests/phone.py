"""A stand-in for `adb` and the phone behind it: a program of that name which runs all of it on this computer.

So what our side says to `adb`, and what it makes of the answers, is tested; a phone is not.
"""

import sys
from pathlib import Path

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


class StandIn:
    """The phone's folder, which holds its programs, and beside it that of `adb`, which belongs on PATH."""

    def __init__(self, folder: Path) -> None:
        self.root, self.programs = folder / "phone", folder / "programs"
        for path in (self.root / "bin", self.programs):
            path.mkdir(parents=True)
        names = {"python": sys.executable, "root": self.root, "serial": SERIAL}
        write_program(self.programs / "adb", _ADB.format(**names))
        write_program(self.root / "bin" / "getprop", _GETPROP.format(**names))
        lines = [f"{name} {value}\n" for name, value in PROPERTIES.items()]
        (self.root / "properties").write_text("".join(lines))
        self.become("device")

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
