"""Energy per inference, from the log of an external power meter."""

import csv
import io
import math
import os
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from edgepress.config.device import Energy, Timing
from edgepress.devices.base import Array
from edgepress.devices.client import Runner
from edgepress.devices.sittings import Bench, warm_up
from edgepress.errors import DeviceError
from edgepress.files import opened
from edgepress.text import listed, shown

_LATE_S = 10.0
"""How long after the last inference the log may still get the lines that tell of it."""

_LARGEST_LOG, _LONGEST_LINE = 1 << 32, 1 << 16
_MOST = (1e12, 1e9)
"""No time, in seconds since 1970, and no power, in watts, is as large."""

_SAMPLES = 10
"""A window holds so many lines at least, and no gap is longer than a fifth of it."""


class Window(NamedTuple):
    """What ran from when to when, by the meter's clock."""

    what: str
    begin_s: float
    end_s: float
    inferences: int


class Log(NamedTuple):
    """The meter's lines: seconds since 1970, ascending, and watts."""

    path: Path
    times_s: Array
    watts: Array


def require_log(config: Energy) -> None:
    """Refuse a configuration whose meter is not logging yet.

    Raises:
        DeviceError: its log is absent or broken.
    """
    if not Path(config.csv).exists():
        raise DeviceError(
            f"energy.csv: {config.csv} does not exist; start the meter's log before the evaluation"
        )
    read_log(Path(config.csv), config)


def energy(bench: Bench, timing: Timing, config: Energy) -> list[dict[str, float]]:
    """µJ per inference of candidate and baseline, as they are and above what the idle machine takes.

    Raises:
        DeviceError: the log is broken, does not cover the inferences or has too few lines.
    """
    idle, *loaded = _windows(bench, timing, config)
    log = _covering(Path(config.csv), config, max(window.end_s for window in loaded))
    return per_inference(log, idle, loaded)


def per_inference(log: Log, idle: Window, loaded: Sequence[Window]) -> list[dict[str, float]]:
    """The figures of each window in which a model ran.

    Raises:
        DeviceError: see `joules`.
    """
    idle_w = joules(log, idle) / (idle.end_s - idle.begin_s)
    return [_figures(log, window, idle_w) for window in loaded]


def joules(log: Log, window: Window) -> float:
    """The integral of the power over a window, by the trapezoid rule, its ends interpolated.

    Raises:
        DeviceError: the log does not cover it, or has too few lines for it.
    """
    begin, end = window.begin_s, window.end_s
    inside = (log.times_s > begin) & (log.times_s < end)
    if log.times_s[0] > begin or log.times_s[-1] < end:
        first, last = (f"{log.times_s[i]:.3f}" for i in (0, -1))
        covers = f"{log.path} covers {first} to {last}, but {window.what} ran from {begin:.3f} to {end:.3f}"
        raise DeviceError(f"{covers}, in seconds since 1970; check energy.clock and that the meter logs on")
    times = np.concatenate([[begin], log.times_s[inside], [end]])
    gap = float(np.diff(times).max())
    if inside.sum() < _SAMPLES or gap > (end - begin) / 5:
        few = f"{log.path} has {inside.sum()} lines while {window.what} ran for {end - begin:.2f} s"
        raise DeviceError(f"{few}, and {gap:.2f} s without any; log faster or set a larger energy.seconds")
    return float(np.trapezoid(np.interp(times, log.times_s, log.watts), times))


def read_log(path: Path, config: Energy) -> Log:
    """A meter's CSV; a last line that is still being written does not count.

    Raises:
        DeviceError: a column is missing, a line is no time and power, or time goes backwards.
    """
    try:
        with io.TextIOWrapper(opened(path, _LARGEST_LOG, DeviceError), encoding="utf-8-sig") as file:
            return _parsed(path, csv.reader(_lines(file)), config)
    except OSError as error:
        raise DeviceError(f"energy.csv: {path} cannot be read: {error.strerror}; check the file") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DeviceError(f"energy.csv: {path} is no CSV: {error}; begin a new one") from error


def _lines(file: TextIO) -> Iterator[str]:
    """The whole lines of what was there when the file was opened."""
    left = os.fstat(file.fileno()).st_size
    while line := file.readline(_LONGEST_LINE):
        left -= len(line)
        if len(line) == _LONGEST_LINE:
            raise csv.Error(f"a line has {_LONGEST_LINE:,} characters or more")
        if not line.endswith("\n") or left < 0:
            return
        yield line


def _parsed(path: Path, rows: Iterator[list[str]], config: Energy) -> Log:
    names = [name.strip() for name in next(rows, [])]
    wanted = (config.timestamp, config.watts)
    absent = [name for name in wanted if names.count(name) != 1]
    if absent:
        once = "" if set(names).isdisjoint(absent) else " once"
        has = f"{path} has the columns {listed(names) or 'none'}, not {', '.join(absent)}{once}"
        raise DeviceError(f"{has}; name them in energy.timestamp and energy.watts")
    columns, numbers = (names.index(wanted[0]), names.index(wanted[1])), array("d")
    for number, row in enumerate(rows, 2):
        if row:
            numbers.extend(_pair(path, number, row, columns))
    times, watts = np.array(numbers).reshape(-1, 2).T
    if len(times) == 0:
        raise DeviceError(f"{path} holds no measurement; start the meter's log before the evaluation")
    if (np.diff(times) < 0).any():
        raise DeviceError(
            f"{path} goes back in time after {times[np.diff(times).argmin()]:.3f}; begin a new one"
        )
    return Log(path, times, watts)


def _windows(bench: Bench, timing: Timing, config: Energy) -> list[Window]:
    """The idle machine, with both models waiting, then each of them without pause."""
    seconds = config.seconds
    with ExitStack() as stack:
        runners = [bench.load(stack, model).runner for model in bench.pair.models]
        ahead = _ahead(runners[0]) if config.clock == "host" else 0.0
        windows = [_window("idle", runners[0].ask("rest", takes_s=seconds, seconds=seconds), ahead)]
        for runner, model in zip(runners, bench.pair.models, strict=True):
            warm_up(runner, timing)
            run = runner.ask("sustain", takes_s=seconds, seconds=seconds)
            windows.append(_window(str(model), run, ahead))
    return windows


def _window(what: str, run: dict[str, Any], ahead: float) -> Window:
    return Window(what, run["begin_s"] - ahead, run["end_s"] - ahead, run.get("inferences", 0))


def _ahead(runner: Runner) -> float:
    """How many seconds the device's clock is ahead of this computer's, by the quickest of some answers."""
    found = []
    for _ in range(10):
        asked = time.time()
        now = runner.ask("clock")["now_s"]
        answered = time.time()
        found.append((answered - asked, now - (asked + answered) / 2))
    return float(min(found)[1])


def _covering(path: Path, config: Energy, end_s: float) -> Log:
    """The log, as soon as it tells of the last inference, or as it is after some seconds."""
    deadline = time.monotonic() + _LATE_S
    while True:
        log = read_log(path, config)
        if log.times_s[-1] >= end_s or time.monotonic() > deadline:
            return log
        time.sleep(0.5)


def _figures(log: Log, window: Window, idle_w: float) -> dict[str, float]:
    total, seconds = joules(log, window), window.end_s - window.begin_s
    return {
        "energy_uj": 1e6 * total / window.inferences,
        "energy_above_idle_uj": 1e6 * (total - idle_w * seconds) / window.inferences,
        "energy_s": seconds,
        "energy_inferences": window.inferences,
        "power_w": total / seconds,
        "idle_power_w": idle_w,
    }


def _pair(path: Path, number: int, row: list[str], columns: tuple[int, int]) -> tuple[float, float]:
    try:
        pair = _seconds(row[columns[0]].strip()), float(row[columns[1]])
    except (ValueError, IndexError, OverflowError):
        pair = math.nan, math.nan
    if not all(abs(value) < most for value, most in zip(pair, _MOST, strict=True)):
        allowed = "expected a time, in seconds since 1970 or ISO 8601, and watts"
        raise DeviceError(f"{path} line {number} is {shown(','.join(row), 80)!r}; {allowed}")
    return pair


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text).timestamp()
