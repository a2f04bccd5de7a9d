"""Repeated measurements taken in turns, tables of them, and what they were taken on."""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from tqdm import tqdm

from edgepress.devices.program.machine import machine

Times = dict[str, list[float]]


def in_turns(actions: Mapping[str, Callable[[], object]], rounds: int, label: str) -> Times:
    """Seconds that each action took in each round, after one round that does not count.

    The actions take turns, forwards and backwards, so that a slow spell of the machine meets all of them.
    """
    times: Times = {name: [] for name in actions}
    for number in tqdm(range(rounds + 1), desc=label, unit="round", leave=False, disable=None):
        for name in list(actions)[:: 1 if number % 2 == 0 else -1]:
            seconds = time_once(actions[name])
            if number:
                times[name].append(seconds)
    return times


def time_once(action: Callable[[], object]) -> float:
    """The wall-clock time of an action, in seconds."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def spread(values: Sequence[float]) -> tuple[str, str, str]:
    """Median, 10th and 90th percentile, as text."""
    low, high = np.percentile(values, [10, 90])
    return f"{statistics.median(values):.3f}", f"{low:.3f}", f"{high:.3f}"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The ratio of the medians."""
    return statistics.median(ours) / statistics.median(theirs)


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows as lines: the first column to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in cells)
    return "\n".join("  ".join(line) for line in lines)


def machine_line() -> str:
    """The kind of machine, and how busy it is with other things."""
    facts, load = machine(), os.getloadavg()[0]
    cores = len(os.sched_getaffinity(0))
    return f"{facts['cpu']} ({facts['architecture']}), {cores} cores; load before the start: {load:.2f}"
