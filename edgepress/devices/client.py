"""The host's side of the program: one process, asked one question at a time."""

import json
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from edgepress.config.device import Kernels
from edgepress.devices.base import RuntimeName
from edgepress.devices.host import Connection
from edgepress.errors import DeviceError

_PACKAGES = {"tflite": "ai-edge-litert", "onnxruntime": "onnxruntime"}
_RECREATE = "delete it and run: dvc repro"
_GRACE_S = 5.0
"""How much longer than this side the program waits before it ends itself, for when nobody else does it."""


class Runner:
    """A process that runs one model.

    Every request raises DeviceError, with the model and a remedy, if the process fails, dies, or says
    nothing for `timeout_s` seconds, or those longer that it takes.
    """

    def __init__(
        self,
        process: "subprocess.Popen[str]",
        log: IO[bytes],
        there: Connection,
        subject: tuple[RuntimeName, Path],
        timeout_s: float,
    ) -> None:
        self._process, self._log, self._there, self._timeout_s = process, log, there, timeout_s
        self._runtime, self._model = subject
        self._timed_out, self._at_work = False, False
        self.pid: int | None = None
        """The program's process, where it runs; None before it has told."""

    def ask(self, verb: str, takes_s: float = 0, **arguments: Any) -> dict[str, Any]:
        """Send a request and wait for its answer, `takes_s` seconds longer than others if it takes those."""
        limit_s = self._timeout_s + takes_s
        timer = threading.Timer(limit_s, self._give_up)
        timer.start()
        try:
            request = {"do": verb, "limit_s": limit_s + _GRACE_S, **arguments}
            self._at_work = True
            line = self._exchange(json.dumps(request))
            self._at_work = False
        finally:
            timer.cancel()
        if not line:
            raise self._death(verb, limit_s)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise self._failure(answer)
        return answer

    def end(self) -> None:
        """End the process: an idle one ends with its input, one that still works has to be killed."""
        if self._at_work:
            self._there.kill(self._process, self.pid)
        self._process.kill()

    def _exchange(self, request: str) -> str:
        """The answer's line; empty if the process is gone."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(request, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            return ""
        return self._process.stdout.readline()

    def _give_up(self) -> None:
        self._timed_out = True
        self._there.kill(self._process, self.pid)

    def _death(self, verb: str, limit_s: float) -> DeviceError:
        status = self._process.wait()
        if self._timed_out:
            remedy = "is the machine overloaded? Otherwise " + _RECREATE
            return self._error(f"gave no answer to {verb!r} within {limit_s:g} s", remedy)
        explained = self._there.explain(status, self._last_words())
        if explained is not None:
            return self._error(*explained)
        how = _manner(status)
        words = f": {self._last_words()}" if self._last_words() else ""
        remedy = f"repair the environment with: {self._there.repair}" if verb == "start" else _RECREATE
        return self._error(f"crashed at {verb!r} ({how}{words})", remedy)

    def _failure(self, answer: dict[str, Any]) -> DeviceError:
        reason = " ".join(str(answer["error"]).split())[:300]
        remedies = {
            "runtime": f"install {_PACKAGES[self._runtime]} with: {self._there.repair}",
            "disk": "free some space and run again",
            "device": "change section device in params.yaml",
            "kernels": "quantise it with -S quant=int8 or choose another device",
        }
        return self._error(f"failed: {reason}", remedies.get(answer["kind"], _RECREATE))

    def _error(self, what: str, remedy: str) -> DeviceError:
        return DeviceError(f"{self._model} in {self._runtime} {what}; {remedy}")

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        words = [line.strip() for line in lines if line.strip()]
        return words[-1][:200] if words else ""


def _manner(status: int) -> str:
    """How a process ended; a shell that reports it adds 128 to a signal."""
    number = -status if status < 0 else status - 128
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"exit status {status}"


@contextmanager
def start_runner(
    there: Connection,
    runtime: RuntimeName,
    model: Path,
    kernels: Kernels,
    timeout_s: float,
) -> Iterator[Runner]:
    """A fresh process for one model, its runtime imported; at the end it is gone."""
    with tempfile.TemporaryFile() as log, there.start(kernels.threads, log) as process:
        runner = Runner(process, log, there, (runtime, model), timeout_s)
        try:
            runner.pid = runner.ask("start", runtime=runtime, cpus=kernels.cpus, attended=True)["pid"]
            yield runner
        finally:
            runner.end()
            process.communicate()
