"""An Android phone, through the plain `adb` program. All of ours lies in one folder, `device.directory`:

files/<sha256><suffix>   what was sent, once; `.part` while it is on its way
runs/                    what a run writes there; gone after it
"""

import hashlib
import json
import re
import shlex
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from edgepress.devices.pipes import MAX_LOG_BYTES, EndlessOutputError, finished, limited
from edgepress.devices.program.machine import short_hash
from edgepress.errors import DeviceError
from edgepress.files import opened
from edgepress.text import one_line, shown

MAX_FILE_BYTES = 1 << 30
"""More than any file that we fetch."""

_PATIENCE_S = 120.0
_BEGUN, _ENDED = "edgepress: begun", "edgepress: ended"
_KEEP_DAYS = 30

_REFUSALS = (
    (
        "device unauthorized",
        "has not allowed this computer in",
        "unlock it, confirm the dialog and run again",
    ),
    ("device offline", "is offline", "unplug it, plug it in and run again"),
    ("device '.*' not found", "is not attached", "correct device.serial; for what is, see: adb devices"),
    ("No space left", "has a full disk", "free some space there, or set device.directory"),
    ("", "cannot be used", "try: adb -s {} shell"),
)
"""What `adb` says, what that means, and the remedy."""

_PROPERTIES = ("ro.product.manufacturer", "ro.product.model", "ro.soc.model", "ro.build.version.release",
               "ro.boot.serialno")  # fmt: skip


class Phone:
    """Runs shell scripts in one folder of a phone; relative paths are below it.

    Every method raises DeviceError, with a remedy, if the phone is out of reach or cannot do what it is told.
    """

    def __init__(self, serial: str, directory: str) -> None:
        self.serial, self._directory = serial, directory
        self._sent = dict[Path, str]()

    def prepare(self) -> None:
        """Make sure that it answers, and make the folder; files that were not used for long are removed."""
        self._sent.clear()
        self._adb("get-state")
        self.shell('mkdir -p "$1/files" "$1/runs"', self._directory, folder="/")
        self.shell(f"find files runs -type f -mtime +{_KEEP_DAYS} -exec rm -f {{}} +")

    def attached(self) -> bool:
        """Whether it still answers."""
        try:
            self._adb("get-state")
        except DeviceError:
            return False
        return True

    def popen(self, script: str, *arguments: str, log: IO[bytes]) -> "subprocess.Popen[str]":
        """A script that is talked to in lines; its arguments are $1, $2, …"""
        command = self._command("shell", "-T", self._script(script, arguments, self._directory))
        pipe = subprocess.PIPE
        return subprocess.Popen(
            limited(command, MAX_LOG_BYTES),
            stdin=pipe,
            stdout=pipe,
            stderr=log,
            encoding="utf-8",
            errors="replace",
        )

    def shell(
        self, script: str, *arguments: str, folder: str | None = None, limit_s: float = _PATIENCE_S
    ) -> str:
        """What a script prints; it fails where the script does.

        A line of our own tells that it has ended: `adb` also succeeds when the connection is lost meanwhile.
        """
        marked = f"echo {_BEGUN}; ( {script}\n); status=$?; echo {_ENDED}; exit $status"
        line = self._script(marked, arguments, folder or self._directory)
        output, ended, _ = self._adb("shell", "-T", line, limit_s=limit_s).rpartition(_ENDED)
        if not ended:
            raise self._failure("device offline, the connection was lost")
        return output.partition(f"{_BEGUN}\n")[2]

    def send(self, path: Path) -> str:
        """Bring a file to the phone, unless it is there, and tell its path there; it is looked at once."""
        if path not in self._sent:
            self._sent[path] = self._bring(path)
        return self._sent[path]

    def scratch(self, name: str) -> str:
        """A path there for a file that a run writes."""
        return f"{self._directory}/runs/{name}"

    def fetch(self, path: str, target: Path) -> None:
        """Bring a file from the phone.

        Raises:
            DeviceError: the connection is lost, the file is not there, or it is larger than any of ours.
        """
        self._adb("pull", path, str(target), limit_s=10 * _PATIENCE_S)

    def tidy(self, run: str) -> None:
        """Remove what a run wrote there."""
        with suppress(DeviceError):  # what a lost phone keeps is removed by a later run
            self.shell('rm -f runs/"$1"-*', run)

    def machine(self) -> dict[str, Any]:
        """What it is, without a name; `fingerprint`, of its serial number, tells it from others like it."""
        script = 'for name; do getprop "$name"; done; uname -m; nproc'
        said = self.shell(script, *_PROPERTIES, folder="/")
        lines = [shown(line.strip(), 100) for line in said.split("\n")[: len(_PROPERTIES) + 2]]
        cores = lines[-1] if len(lines) == len(_PROPERTIES) + 2 else ""
        if not (cores.isascii() and cores.isdigit() and len(cores) < 6):
            raise self._failure(f"it tells no properties, but: {said}")
        maker, model, chip, version, number, architecture, _ = lines
        cpu = f"{maker} {model}{f' ({chip})' if chip else ''}"
        identity = json.dumps(["edgepress", number or self.serial, cpu])
        return {
            "cpu": cpu,
            "architecture": architecture,
            "cores": int(cores),
            "system": f"Android {version}",
            "fingerprint": short_hash(identity),
        }

    def emulated(self) -> bool:
        """Whether it is an emulator."""
        return self.shell("getprop ro.boot.qemu; getprop ro.kernel.qemu", folder="/").split() != []

    def _bring(self, path: Path) -> str:
        with opened(path, refusal=DeviceError) as content:
            name = f"files/{hashlib.file_digest(content, 'sha256').hexdigest()}{path.suffix}"
        there = f"{self._directory}/{name}"
        if self.shell('if [ -f "$1" ]; then touch "$1"; echo there; fi', name).strip() != "there":
            self._adb("push", str(path), f"{there}.part", limit_s=10 * _PATIENCE_S)
            self.shell('mv "$1.part" "$1"', name)
        return there

    def _adb(self, *arguments: str, limit_s: float = _PATIENCE_S) -> str:
        try:
            status, said, words = finished(limited(self._command(*arguments), MAX_FILE_BYTES), limit_s)
        except OSError as error:
            reason = error.strerror or error
            raise DeviceError(f"adb cannot be started: {reason}; install Android's platform tools") from error
        except subprocess.TimeoutExpired as error:
            raise self._failure(f"no answer within {limit_s:g} s") from error
        except EndlessOutputError as error:
            raise self._failure(f"adb prints {error}") from error
        if status == -signal.SIGXFSZ:
            raise self._failure(f"it sends more than {MAX_FILE_BYTES:,} bytes, which is no file of ours")
        if status != 0:
            raise self._failure(words.strip() or said.strip() or f"exit status {status}")
        return said

    def _command(self, *arguments: str) -> list[str]:
        return ["adb", "-s", self.serial, *arguments]

    @staticmethod
    def _script(script: str, arguments: tuple[str, ...], folder: str) -> str:
        """One word for the phone's shell, which gets all words joined."""
        return shlex.join(["sh", "-c", f'cd -- "$0" && {{ {script}\n}}', folder, *arguments])

    def _failure(self, words: str) -> DeviceError:
        said = one_line(words, 300)
        what, remedy = next((what, remedy) for mark, what, remedy in _REFUSALS if re.search(mark, words))
        return DeviceError(f"phone {self.serial!r} {what} ({said}); {remedy.format(self.serial)}")
