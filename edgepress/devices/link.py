"""A shell on a board, through the plain `ssh` program.

So the user's own configuration, agent, jump hosts and known hosts apply; EDGEPRESS_SSH names another program
or gives it options, e.g. "ssh -F team.config". One connection, authenticated once, carries everything. Files
are sent through `cat`, since small boards often have no SFTP server.
"""

import hashlib
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Timer
from typing import IO

from tqdm import tqdm

from edgepress.devices.pipes import MAX_LOG_BYTES, EndlessOutputError, communicate, last_words, limited
from edgepress.errors import DeviceError
from edgepress.files import opened
from edgepress.text import shown

FAILED = 255
"""The exit status of `ssh` where it is `ssh` that failed, not the command on the board."""

_OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "ConnectTimeout": "15",
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "ClearAllForwardings": "yes",
    "PermitLocalCommand": "no",
    "RemoteCommand": "none",
    "RequestTTY": "no",
    "LogLevel": "ERROR",
}

_REFUSALS = (
    (
        ("IDENTIFICATION HAS CHANGED",),
        "shows another host key than it did",
        "if you know why, forget the old one with: ssh-keygen -R <its address>",
    ),
    (
        ("Host key verification failed", "host key is known"),
        "has an unknown host key",
        "check it once with: ssh {}",
    ),
    (
        ("Permission denied", "Too many authentication"),
        "refuses the login",
        "make `ssh {} true` work without a password",
    ),
    (("Could not resolve",), "has no known address", "name it in ~/.ssh/config, or correct device.board"),
    (("",), "cannot be reached", "is it on, and does `ssh {} true` work?"),
)
"""What `ssh` says, what that means, and the remedy."""

_LOOK = 'if [ -f "$1" ]; then touch "$1"; echo there; else stat -Lc %s "$1.part" 2> /dev/null || echo 0; fi'
_ACCEPT = """set -- "$1" "$2" $(sha256sum "$1.part")
if [ "$2" = "$3" ]; then mv "$1.part" "$1"; else rm "$1.part"; exit 1; fi"""
_BEGUN = "edgepress: here it begins"
"""What a script says first: whatever comes before it was said by the board's login scripts."""

_FREE = "df -Pk . | tail -n 1"

RESUMES = "what has been sent is kept there"

_CHUNK = 1 << 18
_SPARE_BYTES = 1 << 20
_PATIENCE_S = 120.0
_GREETING_LINES = 1000
_LARGEST_FILE = 1 << 30


class Link:
    """Runs shell scripts in one folder of a board; relative paths are below it."""

    def __init__(self, board: str, directory: str, ssh: list[str]) -> None:
        self.board, self._directory, self._ssh = board, directory, ssh
        self._sent = dict[Path, str]()

    def popen(self, script: str, *arguments: str, log: IO[bytes] | int) -> "subprocess.Popen[str]":
        """A script that is talked to in lines; its arguments are $1, $2, …"""
        return subprocess.Popen(
            limited([*self._ssh, self.board, self._command(script, arguments)], MAX_LOG_BYTES),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C is for this program, which then ends the other side, too
        )

    def run(self, script: str, *arguments: str, feed: str = "", limit_s: float = _PATIENCE_S) -> str:
        """What a script prints.

        Raises:
            DeviceError: the connection is lost, or the script fails, with its last words.
        """
        status, output, words = self.attempt(script, *arguments, feed=feed, limit_s=limit_s)
        self._require_success(status, words)
        return output

    def attempt(
        self, script: str, *arguments: str, feed: str = "", limit_s: float = _PATIENCE_S
    ) -> tuple[int, str, str]:
        """Exit status, output and last words of a script, which may fail.

        Raises:
            DeviceError: the connection is lost, or the script does not end.
        """
        with self.popen(script, *arguments, log=subprocess.PIPE) as process:
            try:
                output, words = communicate(process, feed, limit_s)
            except subprocess.TimeoutExpired:
                raise self.failure(f"no answer within {limit_s:g} s") from None
            except EndlessOutputError as error:
                raise self.failure(f"a script there prints {error}") from None
        if process.returncode == FAILED:
            raise self.lost(_last(words))
        return process.returncode, output.rpartition(_BEGUN)[2], _last(words)

    def send(self, path: Path, name: str = "") -> str:
        """Bring a file to the board, unless it is there; half a file is continued. Its path there.

        `name` is the path that it gets there, else one made of its content, which is looked at once.

        Raises:
            DeviceError: the connection is lost, or the disk is full.
        """
        if path not in self._sent:
            self._sent[path] = self._bring(path, name)
        return self._sent[path]

    def fetch(self, path: str, target: Path) -> None:
        """Bring a file from the board.

        Raises:
            DeviceError: the connection is lost, or the file cannot be read there.
        """
        command = [*self._ssh, self.board, self._command('cat -- "$1"', (path,))]
        pipe = subprocess.PIPE
        with (
            target.open("wb") as file,
            tempfile.TemporaryFile() as log,
            subprocess.Popen(
                limited(command, MAX_LOG_BYTES),
                stdin=subprocess.DEVNULL,
                stdout=pipe,
                stderr=log,
                start_new_session=True,
            ) as process,
        ):
            assert process.stdout is not None
            whole = _receive(process.stdout, file)
            if not whole:
                process.kill()
            status, words = process.wait(), last_words(log, 300)
        if not whole:
            raise self.failure(f"{path} there is larger than {_LARGEST_FILE:,} bytes, or no file of ours")
        self._require_success(status, words)

    def lost(self, words: str) -> DeviceError:
        """That the connection has ended."""
        return DeviceError(f"{self.lost_words(words)}; run again: {RESUMES}")

    def lost_words(self, words: str) -> str:
        """As `lost`, without the remedy."""
        return f"the connection to board {self.board!r} was lost{f' ({words})' if words else ''}"

    def failure(self, words: str) -> DeviceError:
        """That something failed on the board, where the connection holds."""
        if "No space left" in words:
            return DeviceError(
                f"the disk of board {self.board!r} is full; free some space there, or set device.directory "
                f"to a folder on another disk, and run again: {RESUMES}"
            )
        return DeviceError(
            f"board {self.board!r} failed: {words}; see what it says to: edgepress device check {self.board}"
        )

    def _bring(self, path: Path, name: str) -> str:
        with opened(path, refusal=DeviceError) as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
            target = name or f"files/{digest}{path.suffix}"
            answer = self.run(_LOOK, target).strip()
            if answer == "there":
                return target
            there = self._count(answer)
            arrived = self._continue(path, content, there, target, digest)
            if not arrived and there > 0:  # what had been there was something else
                arrived = self._continue(path, content, 0, target, digest)
        if not arrived:
            raise self.failure(f"{path} arrives damaged")
        return target

    def _command(self, script: str, arguments: tuple[str, ...]) -> str:
        """For the login shell there; sh is a child of it, so that a signal becomes an exit status."""
        return shlex.join(
            [
                "sh",
                "-c",
                f'echo {_BEGUN}; cd -- "$0" && {{ {script}\n}}; exit $?',
                self._directory,
                *arguments,
            ]
        )

    def _continue(self, path: Path, content: IO[bytes], sent: int, target: str, digest: str) -> bool:
        """Send what follows the first `sent` bytes; whether all of it is now there as it should be."""
        size = content.seek(0, os.SEEK_END)
        self._require_space(path, size - sent)
        if sent < size:
            content.seek(sent)
            self._pour(content, target, size, sent)
        return self.attempt(_ACCEPT, target, digest)[0] == 0

    def _require_space(self, path: Path, size: int) -> None:
        answer = self.run(_FREE).split()
        free = self._count(answer[3] if len(answer) > 3 else "".join(answer)) * 1024
        if free < size + _SPARE_BYTES:
            raise DeviceError(
                f"board {self.board!r} has {free / 1e6:.1f} MB left in {self._directory}, but {path} takes "
                f"{size / 1e6:.1f} MB; free some space there, or set device.directory to a folder on "
                "another disk"
            )

    def _count(self, answer: str) -> int:
        """A count that a script told."""
        if not (answer.isascii() and answer.isdigit() and len(answer) < 20):
            raise self.failure(f"a script there says {shown(answer, 60)!r} instead of a number")
        return int(answer)

    def _pour(self, content: IO[bytes], target: str, size: int, sent: int) -> None:
        command = [*self._ssh, self.board, self._command('cat >> "$1.part"', (target,))]
        pipe = subprocess.PIPE
        progress = tqdm(
            desc=f"sending to {self.board}",
            total=size,
            initial=sent,
            unit="B",
            unit_scale=True,
            leave=False,
            disable=None,
            delay=1,
        )
        with progress, subprocess.Popen(command, stdin=pipe, stderr=pipe, start_new_session=True) as process:
            assert process.stdin is not None
            assert process.stderr is not None
            with suppress(BrokenPipeError):  # the exit status tells why
                while chunk := content.read(_CHUNK):
                    process.stdin.write(chunk)
                    progress.update(len(chunk))
                process.stdin.close()
            words = _last(process.stderr.read(_CHUNK).decode(errors="replace"))
            process.stderr.close()
        self._require_success(process.returncode, words)

    def _require_success(self, status: int, words: str) -> None:
        if status == FAILED:
            raise self.lost(words)
        if status != 0:
            raise self.failure(words or f"exit status {status}")


@contextmanager
def open_link(board: str, directory: str) -> Iterator[Link]:
    """A connection to a board, with its folder made; it ends with this process, however that ends.

    Raises:
        DeviceError: the board cannot be reached, its host key is not the one that is known, it refuses the
            login, or the folder cannot be made.
    """
    with tempfile.TemporaryDirectory(prefix="edgepress-", dir=_short_folder()) as folder:
        ssh = shlex.split(os.environ.get("EDGEPRESS_SSH", "ssh"))
        options = {**_OPTIONS, "ControlPath": f"{folder}/link"}
        shared = [*ssh, *(f"-o{key}={value}" for key, value in options.items())]
        # Without its master a later command would connect anew, unnoticed, but for this proxy.
        later = Link(board, directory, [*shared, "-oControlMaster=no", "-oProxyCommand=false"])
        first = Link(board, ".", [*shared, "-oControlMaster=yes", "-oControlPersist=no"])
        with _master(first, directory, Path(folder)) as process:
            try:
                yield later
            finally:
                process.kill()


@contextmanager
def _master(link: Link, directory: str, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """The process that holds the connection; it ends with its input, and so with this process."""
    with (folder / "log").open("w+b") as log:
        script = 'mkdir -p -- "$1" && cd -- "$1" && mkdir -p files runs && echo ready && cat > /dev/null'
        try:
            process = link.popen(script, directory, log=log)
        except OSError as error:
            raise DeviceError(f"ssh cannot be started: {error}; install OpenSSH's client") from error
        timer = Timer(_PATIENCE_S, process.kill)
        timer.start()
        with process:
            assert process.stdout is not None
            ready = any(process.stdout.readline(_CHUNK) == "ready\n" for _ in range(_GREETING_LINES))
            timer.cancel()
            if not ready:
                process.kill()
                status = process.wait()
                log.seek(0)
                raise _refusal(link, status, log.read(_CHUNK).decode(errors="replace"))
            yield process


def _refusal(link: Link, status: int, words: str) -> DeviceError:
    if status != FAILED:
        return link.failure(_last(words) or "it does not run our script")
    what, remedy = next(
        (what, remedy) for marks, what, remedy in _REFUSALS if any(mark in words for mark in marks)
    )
    said = f" ({_last(words)})" if _last(words) else ""
    return DeviceError(f"board {link.board!r} {what}{said}; {remedy.format(link.board)}")


def _last(words: str) -> str:
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return shown(lines[-1], 300) if lines else ""


def _receive(source: IO[bytes], target: IO[bytes]) -> bool:
    """Write what follows our mark to a file; whether it is of a size that makes sense."""
    begun, room, begin = False, _LARGEST_FILE, b""
    while part := source.read1(_CHUNK):  # type: ignore[attr-defined]
        if not begun:
            begin += part
            _, mark, part = begin.partition(f"{_BEGUN}\n".encode())
            begun = bool(mark)
        room -= len(part) if begun else 0
        if room < 0 or (not begun and len(begin) > _CHUNK):
            return False
        target.write(part if begun else b"")
    return True


def _short_folder() -> str | None:
    """Where a socket's path stays within the system's limit of some hundred characters."""
    return "/tmp" if Path("/tmp").is_dir() else None
