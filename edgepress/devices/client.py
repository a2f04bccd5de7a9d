"""The host's side of `runner.py`: one process, asked one question at a time."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from edgepress.devices.base import RuntimeName
from edgepress.errors import DeviceError

PROGRAM = Path(__file__).with_name("runner.py")

_PACKAGES = {"tflite": "ai-edge-litert", "onnxruntime": "onnxruntime"}
_RECREATE = "delete it and run: dvc repro"


class Runner:
    """A process that runs one model.

    Every request raises DeviceError, with the model and a remedy, if the process fails, dies, or says
    nothing for `timeout_s` seconds.
    """

    def __init__(
        self,
        process: "subprocess.Popen[str]",
        log: IO[bytes],
        runtime: RuntimeName,
        model: Path,
        timeout_s: float,
    ) -> None:
        self._process, self._log, self._timeout_s = process, log, timeout_s
        self._runtime, self._model = runtime, model
        self._timed_out = False

    def ask(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        timer = threading.Timer(self._timeout_s, self._give_up)
        timer.start()
        try:
            line = self._exchange(json.dumps({"do": verb, **arguments}))
        finally:
            timer.cancel()
        if not line:
            raise self._death(verb)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise self._failure(answer)
        return answer

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
        self._process.kill()

    def _death(self, verb: str) -> DeviceError:
        status = self._process.wait()
        if self._timed_out:
            remedy = "is the machine overloaded? Otherwise " + _RECREATE
            return self._error(f"gave no answer to {verb!r} within {self._timeout_s:g} s", remedy)
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        remedy = "repair the environment with: make install" if verb == "start" else _RECREATE
        return self._error(f"crashed at {verb!r} ({how}{self._last_words()})", remedy)

    def _failure(self, answer: dict[str, Any]) -> DeviceError:
        reason = " ".join(str(answer["error"]).split())[:300]
        if answer["kind"] == "runtime":
            return self._error(
                f"failed: {reason}", f"install it with: pip install {_PACKAGES[self._runtime]}"
            )
        remedy = "free some space and run again" if answer["kind"] == "disk" else _RECREATE
        return self._error(f"failed: {reason}", remedy)

    def _error(self, what: str, remedy: str) -> DeviceError:
        return DeviceError(f"{self._model} in {self._runtime} {what}; {remedy}")

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        words = [line.strip() for line in lines if line.strip()]
        return f": {words[-1][:200]}" if words else ""


@contextmanager
def start_runner(runtime: RuntimeName, model: Path, threads: int, timeout_s: float) -> Iterator[Runner]:
    """A fresh process for one model; at the end it is gone."""
    command = [sys.executable, "-I", str(PROGRAM)]
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=log,
            text=True,
            encoding="utf-8",
            env=environment(threads),
        ) as process,
    ):
        try:
            yield Runner(process, log, runtime, model, timeout_s)
        finally:
            process.kill()
            process.communicate()


def environment(threads: int) -> dict[str, str]:
    """This process's environment without Python's own variables, and with the number of threads fixed."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return {**kept, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}
