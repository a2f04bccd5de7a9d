"""The host's side of the program: one process, asked one question at a time."""

import json
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from edgepress.config.device import Kernels
from edgepress.devices.answers import parse_answer
from edgepress.devices.base import RuntimeName
from edgepress.devices.host import Connection
from edgepress.devices.pipes import MAX_LINE, last_words
from edgepress.errors import DeviceError, choose, made_anew
from edgepress.text import one_line, shown

_PACKAGES = {"tflite": "ai-edge-litert", "onnxruntime": "onnxruntime"}
_STRANGE = "is it our program that runs there, and does nothing else print to its output?"
_GREETING_LINES = 1000
_ANSWER = re.compile(r"\s*[{].*[}]\s*")
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
        if not line.endswith("\n"):
            raise self._cut_off(verb, line, limit_s)
        try:
            answer = parse_answer(line, verb, arguments)
        except ValueError as error:
            raise self._error(
                f"answers {verb!r} with {shown(line.strip(), 60)!r}: {error}", _STRANGE
            ) from error
        if "error" in answer:
            raise self._failure(answer)
        return answer

    def end(self) -> None:
        """End the process: an idle one ends with its input, one that still works has to be killed."""
        if self._at_work:
            self._there.kill(self._process, self.pid)
        self._process.kill()

    def _exchange(self, request: str) -> str:
        """The answer's line; without an end if the process is gone, or writes on and on.

        What a login script says before the first answer is passed over.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(request, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            return ""
        for _ in range(_GREETING_LINES if self.pid is None else 1):
            line = self._process.stdout.readline(MAX_LINE)
            if self.pid is not None or not line.endswith("\n") or _ANSWER.fullmatch(line):
                break
        return line

    def _give_up(self) -> None:
        self._timed_out = True
        self._there.kill(self._process, self.pid)

    def _cut_off(self, verb: str, line: str, limit_s: float) -> DeviceError:
        """What it means that no whole line came."""
        if len(line) < MAX_LINE:
            return self._death(verb, limit_s)
        self._there.kill(self._process, self.pid)
        return self._error(f"answers {verb!r} with more than {MAX_LINE:,} characters", _STRANGE)

    def _death(self, verb: str, limit_s: float) -> DeviceError:
        try:
            status = self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:  # it has closed its output, but has not ended
            self._there.kill(self._process, self.pid)
            self._process.kill()
            status = self._process.wait()
        if self._timed_out:
            remedy = "is the machine overloaded? Otherwise " + made_anew()
            return self._error(f"gave no answer to {verb!r} within {limit_s:g} s", remedy)
        explained = self._there.explain(status, self._last_words())
        if explained is not None:
            return self._error(*explained)
        how = _manner(status)
        words = f": {self._last_words()}" if self._last_words() else ""
        remedy = f"repair the environment with: {self._there.repair}" if verb == "start" else made_anew()
        return self._error(f"crashed at {verb!r} ({how}{words})", remedy)

    def _failure(self, answer: dict[str, Any]) -> DeviceError:
        reason = one_line(answer["error"], 300)
        remedies = {
            "runtime": f"install {_PACKAGES[self._runtime]} with: {self._there.repair}",
            "disk": "free some space and run again",
            "device": "change section device in params.yaml",
            "kernels": f"quantise it with {choose('quant', 'int8')} or choose another device",
        }
        return self._error(f"failed: {reason}", remedies.get(answer["kind"], made_anew()))

    def _error(self, what: str, remedy: str) -> DeviceError:
        return DeviceError(f"{self._model} in {self._runtime} {what}; {remedy}")

    def _last_words(self) -> str:
        return last_words(self._log)


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
