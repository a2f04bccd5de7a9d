"""What a command costs: seconds by the wall clock and memory, from its start to its end."""

import os
import re
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LIMIT_S = 1800.0
_POLL_S = 0.02
_ERROR = re.compile(r"[\w.]+(?:Error|Exception): (.+)")


@dataclass(frozen=True)
class Cost:
    """`peak_bytes` is the largest VmHWM of the process and of those that it starts."""

    seconds: float
    peak_bytes: int


def run(command: Sequence[str | Path], folder: Path, extra: Mapping[str, str] | None = None) -> Cost:
    """Run a command in a folder, on one thread where its libraries let themselves be told.

    Raises:
        RuntimeError: it failed, or takes too long; the message is the line that says why.
    """
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    path = f"{Path(command[0]).parent}{os.pathsep}{variables['PATH']}"
    variables |= {"PATH": path, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", **(extra or {})}
    begin, peak = time.perf_counter(), 0
    with (
        tempfile.TemporaryFile("w+", errors="replace") as log,
        subprocess.Popen(command, cwd=folder, env=variables, stdout=log, stderr=log) as process,
    ):
        ended = os.pidfd_open(process.pid)
        while not select.select([ended], [], [], _POLL_S)[0]:
            peak = max(peak, *map(_high_water, _tree(process.pid)))
            if time.perf_counter() - begin > _LIMIT_S:
                process.kill()
        seconds = time.perf_counter() - begin
        os.close(ended)
        process.wait()
        log.seek(0)
        lines = [line.strip() for line in log if line.strip()]
    if process.returncode:
        raise RuntimeError(_reason(lines) or f"exit status {process.returncode}")
    return Cost(seconds, peak)


def _reason(lines: Sequence[str]) -> str:
    """Of errors that led to each other the first, else the last line."""
    found = filter(None, map(_ERROR.match, lines))
    return next((match[1] for match in found), lines[-1] if lines else "")


def _tree(process: int) -> list[int]:
    """A process and its descendants."""
    found = [process]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                found.extend(map(int, task.read_text().split()))
            except OSError:  # it ended meanwhile
                continue
    return found


def _high_water(process: int) -> int:
    """VmHWM in bytes; 0 if the process is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
