"""What other programs write is read up to a limit, so that one that never ends costs no memory."""

import errno
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

MAX_LINE = 1 << 23
"""Characters of one answer; the longest ones, of many inferences, have a million."""

MAX_OUTPUT = 1 << 22
"""Characters of what a script prints."""

MAX_LOG_BYTES = 1 << 26
"""Of what a program that is talked to writes to its log meanwhile."""

_BLOCK_BYTES = 512  # of `ulimit -f`, by POSIX
_TAIL_BYTES = 1 << 16
_CHUNK = 1 << 16


class EndlessOutputError(Exception):
    """A program has written more than it should; it was ended."""


def limited(command: Sequence[str], most_bytes: int) -> list[str]:
    """The command, ended by the system (SIGXFSZ) if it makes a file larger than that, such as its log.

    Raises:
        FileNotFoundError: there is no such program, as where it is started.
    """
    if shutil.which(command[0]) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command[0])
    return ["/bin/sh", "-c", 'ulimit -f "$0" && exec "$@"', str(-(-most_bytes // _BLOCK_BYTES)), *command]


def finished(
    command: Sequence[str], limit_s: float, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """The exit status of a command, what it said, and its errors.

    Raises:
        OSError: it cannot be started.
        EndlessOutputError, TimeoutExpired: as `communicate`.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, cwd=cwd, env=env,
        encoding="utf-8", errors="replace",
    ) as process:  # fmt: skip
        said, words = communicate(process, "", limit_s)
    return process.returncode, said, words


def communicate(
    process: "subprocess.Popen[str]", feed: str, limit_s: float, most: int = MAX_OUTPUT
) -> tuple[str, str]:
    """As `Popen.communicate` with its output and errors piped, for outputs of at most `most` characters.

    Raises:
        EndlessOutputError: it writes more.
        TimeoutExpired: it does not end. It was killed.
    """
    readers = [
        _Reader(stream, process, most) for stream in (process.stdout, process.stderr) if stream is not None
    ]
    end = time.monotonic() + limit_s
    with suppress(BrokenPipeError):  # its exit status says why it does not read
        if process.stdin is not None:
            process.stdin.write(feed)
            process.stdin.close()
    for reader in readers:
        reader.join(max(0.0, end - time.monotonic()))
    if any(reader.is_alive() for reader in readers):
        process.kill()
        raise subprocess.TimeoutExpired(process.args, limit_s)
    process.wait(max(0.1, end - time.monotonic()))
    if any(reader.endless for reader in readers):
        raise EndlessOutputError(f"more than {most:,} characters")
    texts = [reader.text for reader in readers]
    return texts[0], texts[1] if len(texts) > 1 else ""


class _Reader(threading.Thread):
    """Reads a stream to its end, or ends the program."""

    def __init__(self, stream: IO[str], process: "subprocess.Popen[str]", most: int) -> None:
        super().__init__(daemon=True)
        self.text, self.endless = "", False
        self._stream, self._process, self._most = stream, process, most
        self.start()

    def run(self) -> None:
        parts, room = list[str](), self._most
        with suppress(ValueError, OSError):  # the stream is closed
            while part := self._stream.read(_CHUNK):
                room -= len(part)
                if room < 0:
                    self.endless = True
                    self._process.kill()
                    break
                parts.append(part)
        self.text = "".join(parts)


def last_words(log: IO[bytes], most: int = 200) -> str:
    """The last line with something in it that was written to a log."""
    size = log.seek(0, 2)
    log.seek(max(0, size - _TAIL_BYTES))
    lines = [line.strip() for line in log.read(_TAIL_BYTES).decode(errors="replace").split("\n")]
    return next((line for line in reversed(lines) if line), "")[:most]
