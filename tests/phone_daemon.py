"""What answers the real `adb` on a phone, as far as our side needs it: Android's debug bridge over TCP.

A program, which runs shells and keeps files on this computer, in the environment that it is given. After
Android's `protocol.txt`, `SYNC.TXT` and `shell_protocol.h`: version 2 of the shell protocol, version 1 of the
one for files, no authentication.
"""

import contextlib
import itertools
import os
import queue
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

_HEADER = struct.Struct("<4s5I")
_FRAME = struct.Struct("<BI")
_REQUEST = struct.Struct("<4sI")
_VERSION, _LARGEST = 0x01000001, 1 << 16
_BANNER = (
    b"device::ro.product.name=stand_in;ro.product.model=Stand_In;ro.product.device=x;features=shell_v2,cmd"
)
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)
_ENDS = object()


def listen(environment: dict[str, str]) -> None:
    """Serve `adb` at a port of this computer, whose address is printed: what `adb` calls the phone."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"127.0.0.1:{listener.getsockname()[1]}", flush=True)
        while True:
            link, _ = listener.accept()
            threading.Thread(target=_Link(link, environment).serve, daemon=True).start()


class _Link:
    """A connection of `adb`, which carries streams."""

    def __init__(self, link: socket.socket, environment: dict[str, str]) -> None:
        self._link, self._environment = link, environment
        self._file, self._lock = link.makefile("rb"), threading.Lock()
        self._streams: dict[int, _Stream] = {}
        self._numbers = itertools.count(1)

    def serve(self) -> None:
        with contextlib.suppress(OSError, struct.error):
            while True:
                command, first, second, length, _, _ = _HEADER.unpack(self._file.read(_HEADER.size))
                self._take(command, first, second, self._file.read(length))
        for stream in self._streams.values():
            stream.received.put(_ENDS)

    def send(self, command: bytes, first: int, second: int, content: bytes = b"") -> None:
        magic = int.from_bytes(command, "little") ^ 0xFFFFFFFF
        header = _HEADER.pack(command, first, second, len(content), sum(content) & 0xFFFFFFFF, magic)
        with self._lock, contextlib.suppress(OSError):
            self._link.sendall(header + content)

    def _take(self, command: bytes, first: int, second: int, content: bytes) -> None:
        if command == b"CNXN":
            self.send(b"CNXN", _VERSION, _LARGEST, _BANNER)
        elif command == b"OPEN":
            self._open(first, content.rstrip(b"\0").decode())
        elif second in self._streams:
            stream = self._streams[second]
            if command == b"WRTE":
                stream.received.put(content)
                self.send(b"OKAY", second, first)
            elif command == b"OKAY":
                stream.ready.set()
            elif command == b"CLSE":
                self._streams.pop(second).received.put(_ENDS)
                stream.ready.set()

    def _open(self, theirs: int, wish: str) -> None:
        stream = _Stream(self, next(self._numbers), theirs)
        service, _, rest = wish.partition(":")
        serve: Callable[[], None] | None = None
        if service.startswith("shell,v2") and "raw" in service:
            serve = lambda: _shell(stream, rest, self._environment)  # noqa: E731
        elif service == "sync":
            serve = lambda: _sync(stream)  # noqa: E731
        if serve is None:
            self.send(b"CLSE", 0, theirs)
            return
        self._streams[stream.ours] = stream
        self.send(b"OKAY", stream.ours, theirs)
        threading.Thread(target=_run_and_close, args=(serve, stream), daemon=True).start()


class _Stream:
    """Both ways of one service; what is written waits until what was before has arrived."""

    def __init__(self, link: _Link, ours: int, theirs: int) -> None:
        self.link, self.ours, self.theirs = link, ours, theirs
        self.received: queue.Queue[object] = queue.Queue()
        self.ready = threading.Event()
        self.ready.set()
        self._buffer, self._lock = b"", threading.Lock()

    def write(self, content: bytes) -> None:
        with self._lock:
            for start in range(0, len(content), _LARGEST):
                self.ready.wait(60)
                self.ready.clear()
                self.link.send(b"WRTE", self.ours, self.theirs, content[start : start + _LARGEST])

    def read(self, length: int) -> bytes:
        """That many bytes, or EOFError."""
        while len(self._buffer) < length:
            part = self.received.get()
            if not isinstance(part, bytes):
                raise EOFError
            self._buffer += part
        found, self._buffer = self._buffer[:length], self._buffer[length:]
        return found


def _run_and_close(serve: Callable[[], None], stream: _Stream) -> None:
    with contextlib.suppress(EOFError, BrokenPipeError):
        serve()
    stream.link.send(b"CLSE", stream.ours, stream.theirs)


def _shell(stream: _Stream, command: str, environment: dict[str, str]) -> None:
    """A shell, which does not end when `adb` does; only its input then does."""
    pipe = subprocess.PIPE
    line = ["/bin/sh", "-c", command]
    process = subprocess.Popen(
        line, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, start_new_session=True
    )
    pumps = [
        threading.Thread(target=_pump, args=(file, kind, stream), daemon=True)
        for kind, file in ((_STDOUT, process.stdout), (_STDERR, process.stderr))
    ]
    for pump in (*pumps, threading.Thread(target=_feed, args=(stream, process.stdin), daemon=True)):
        pump.start()
    status = process.wait()
    for pump in pumps:
        pump.join()
    stream.write(_FRAME.pack(_EXIT, 1) + bytes([status if status >= 0 else 128 - status]))


def _pump(file: IO[bytes], kind: int, stream: _Stream) -> None:
    while part := os.read(file.fileno(), 1 << 12):
        stream.write(_FRAME.pack(kind, len(part)) + part)
    file.close()


def _feed(stream: _Stream, target: IO[bytes]) -> None:
    with contextlib.suppress(EOFError, BrokenPipeError), target:
        while True:
            kind, length = _FRAME.unpack(stream.read(_FRAME.size))
            content = stream.read(length)
            if kind == _CLOSE_STDIN:
                return
            if kind == _STDIN:
                target.write(content)
                target.flush()


def _sync(stream: _Stream) -> None:
    """Files."""
    while True:
        kind, length = _REQUEST.unpack(stream.read(_REQUEST.size))
        if kind == b"QUIT":
            return
        path = stream.read(length).decode()
        if kind == b"STAT":
            found = Path(path).stat() if Path(path).exists() else None
            facts = (found.st_mode, found.st_size, int(found.st_mtime)) if found else (0, 0, 0)
            stream.write(struct.pack("<4s3I", b"STAT", *facts))
        elif kind == b"SEND":
            _receive(stream, Path(path.rpartition(",")[0]))
        elif kind == b"RECV":
            _deliver(stream, Path(path))


def _receive(stream: _Stream, target: Path) -> None:
    content = b"".join(_parts(stream))
    try:
        target.write_bytes(content)
    except OSError as error:
        _fail(stream, error)
    else:
        stream.write(_REQUEST.pack(b"OKAY", 0))


def _parts(stream: _Stream) -> Iterator[bytes]:
    while True:
        kind, number = _REQUEST.unpack(stream.read(_REQUEST.size))
        if kind == b"DONE":
            return
        yield stream.read(number)


def _deliver(stream: _Stream, source: Path) -> None:
    try:
        content = source.read_bytes()
    except OSError as error:
        _fail(stream, error)
        return
    for start in range(0, len(content), 1 << 15):
        part = content[start : start + (1 << 15)]
        stream.write(_REQUEST.pack(b"DATA", len(part)) + part)
    stream.write(_REQUEST.pack(b"DONE", 0))


def _fail(stream: _Stream, error: OSError) -> None:
    words = str(error.strerror).encode()
    stream.write(_REQUEST.pack(b"FAIL", len(words)) + words)


if __name__ == "__main__":
    threading.Thread(target=listen, args=(dict(os.environ),), daemon=True).start()
    sys.stdin.read()  # it is unplugged when its input ends
