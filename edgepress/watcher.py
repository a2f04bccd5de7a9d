"""A line about a process that dies without one: killed, or ended by a native library.

Where memory is short, TensorFlow and others end the whole process with a signal, and the kernel may kill it;
no Python is run then. So a light copy of the process, made before anything heavy is loaded, waits for its end
and tells it. The process itself stays the one that its parent started, so its signals, its status and its
figures are its own. Standard library only.
"""

import faulthandler
import os
import re
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from edgepress.system import NO_LIMIT_BYTES, address_space, memory_limit

TRACEBACK = "EDGEPRESS_TRACEBACK"
"""The environment variable with which unexpected errors show their traceback."""

_DONE = b"\0"
_GRACE_S = 10
_READ_BYTES = 1 << 16
_SIGNALS = {
    "Aborted": "SIGABRT",
    "Segmentation fault": "SIGSEGV",
    "Bus error": "SIGBUS",
    "Illegal instruction": "SIGILL",
    "Floating point exception": "SIGFPE",
}
"""By what `faulthandler` calls them, the signals with which native code ends its process."""

_LIKELY = {
    "SIGBUS": "most likely since a file that it was reading became shorter, or a disk is full",
    "SIGILL": "most likely since this processor lacks an instruction that a library was built for",
    "SIGFPE": "in a library's arithmetic",
}
_FRAME = re.compile(r'File "[^"]*?((?:edgepress|stages)/[^"]*)", line (\d+)')
_TICK_S, _SPUN = 3.0, 5
"""Seconds between two looks at a process, and so many in a row after which it is ended."""
_SPIN_S, _CLOSE_BYTES = 0.3, 1 << 27
"""Of a process that asks for memory in vain: the least time in the system between two looks, and how near it
is to its limit of addresses.
"""
_IGNORED = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE)


def watched(name: str, work: Callable[[], int]) -> int:
    """What `work` gives; if this process ends before that, a line on standard error says so of `name`."""
    reading, writing = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    watcher = os.fork()
    if watcher == 0:
        os.close(writing)
        _watch(name, reading)
    os.close(reading)
    faulthandler.enable(writing, all_threads=False)
    status = work()
    faulthandler.disable()
    os.write(writing, _DONE)
    os.close(writing)
    with suppress(ChildProcessError):
        os.waitpid(watcher, 0)
    return status


def _watch(name: str, reading: int) -> NoReturn:
    """Wait for the parent's end, and tell it if it has not done so itself."""
    parent, interrupted, killed_before = os.getppid(), list[bool](), _killed_for_memory()

    def end_soon(*_: object) -> None:  # native code does not see Ctrl-C
        interrupted.append(True)
        signal.alarm(_GRACE_S)

    def end(*_: object) -> None:
        if os.getppid() == parent:
            os.kill(parent, signal.SIGKILL)

    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGINT, end_soon)
    signal.signal(signal.SIGALRM, end)
    spin = _Spin(parent)
    heard = b""
    while part := _read(reading, spin):
        heard += part
    if not heard.endswith(_DONE):
        words = heard.decode(errors="replace")
        line = _reason(name, words, spin.found or _killed_for_memory() > killed_before)
        _say("interrupted; every file is either whole or as it was" if interrupted else line, words)
    os._exit(0)


def _read(reading: int, spin: "_Spin") -> bytes:
    """What comes next from the process; nothing at its end, which is brought about if it spins."""
    while spin.possible and not select.select([reading], [], [], _TICK_S)[0]:
        spin.look()
    return os.read(reading, _READ_BYTES)


class _Spin:
    """Whether a process asks in vain for memory without end, as OpenBLAS does under a limit of addresses.

    It then spends nearly all of its time in the system, and its size, just below the limit, stays as it is.
    """

    def __init__(self, process: int) -> None:
        self.possible, self.found = address_space() < NO_LIMIT_BYTES, False
        self._process, self._before, self._times = process, (0.0, 0.0, 0), 0

    def look(self) -> None:
        """Look at the process, and end it if it has spun for long enough."""
        with suppress(OSError, ValueError, IndexError):
            text = Path(f"/proc/{self._process}/stat").read_text(encoding="utf-8")
            fields = text.rpartition(")")[2].split()  # the name before may hold anything, see proc(5)
            ticks = os.sysconf("SC_CLK_TCK")
            now = int(fields[11]) / ticks, int(fields[12]) / ticks, int(fields[20])
            self._times = self._times + 1 if spins(self._before, now, address_space()) else 0
            self._before = now
            if self._times >= _SPUN and os.getppid() == self._process:
                self.found = True
                os.kill(self._process, signal.SIGKILL)


def spins(before: tuple[float, float, int], now: tuple[float, float, int], limit: int) -> bool:
    """Whether a process asked in vain for memory between two looks at it.

    Args:
        before: its seconds of its own and in the system, and its addresses in bytes.
        now: the same, later.
        limit: the most addresses that it may have, in bytes.
    """
    own, system = now[0] - before[0], now[1] - before[1]
    return now[2] == before[2] > limit - _CLOSE_BYTES and system > _SPIN_S and system > 4 * own


def _say(line: str, words: str) -> None:
    more = words if os.environ.get(TRACEBACK) else ""
    with suppress(OSError):
        os.write(2, f"{more}error: {line}\n".encode())


def _reason(name: str, words: str, for_memory: bool) -> str:
    """One line from what `faulthandler` wrote, if it could, and from the kernel's count of its victims."""
    limit = memory_limit()
    remedy = "close other programs, raise the limit, or take smaller data or a smaller network"
    if for_memory:
        return f"{name} was ended for lack of memory{limit}; {remedy}"
    fatal = words.partition("\n")[0].partition("Fatal Python error: ")[2].strip()
    ended = _SIGNALS.get(fatal)
    if ended is None:
        ended = "was ended by SIGKILL or a native library, most likely for lack of memory"
        return f"{name} {ended}{limit} if nobody did it on purpose; {remedy}"
    frame = _FRAME.search(words)
    place = f" called in {frame[1]}, line {frame[2]}" if frame else ""
    likely = _LIKELY.get(ended, f"most likely for lack of memory{limit}; {remedy}")
    return f"{name} was ended by {ended} in a native library{place}, {likely}"


def _killed_for_memory() -> int:
    """How many processes the kernel has ended for lack of memory so far; 0 where it does not tell."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/vmstat").read_text(encoding="ascii").split("\noom_kill ")[1].split()[0])
    return 0
