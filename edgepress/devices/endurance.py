"""What is measured beside single inferences, where it is asked for: batches, and runs without pause."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.config.device import Timing
from edgepress.devices.sittings import Bench, sit, timings_of, warm_up

Figures = dict[str, Any]


def throughput(bench: Bench, timing: Timing) -> list[Figures]:
    """Samples per second of candidate and baseline for each batch size, timed in turns.

    Where a model cannot take such batches it is None, and `samples_per_s_note` says why.
    """
    figures: list[Figures] = [
        {"samples_per_s_note": None} if timing.batch_sizes else {} for _ in bench.pair.models
    ]
    for size in timing.batch_sizes:
        faults = [_fault(bench, model, size) for model in bench.pair.models]
        able = [model for model, fault in zip(bench.pair.models, faults, strict=True) if fault is None]
        speeds = iter(_samples_per_s(bench, able, timing, size))
        for each, fault in zip(figures, faults, strict=True):
            each[f"samples_per_s_batch_{size}"] = next(speeds) if fault is None else None
            if fault is not None:
                each["samples_per_s_note"] = each["samples_per_s_note"] or f"batch {size}: {fault}"
    return figures


def sustained(bench: Bench, timing: Timing) -> Figures:
    """How the candidate's time changes when it runs without pause, `sustained_drift` times what it was."""
    if timing.sustained_s == 0:
        return {}
    with ExitStack() as stack:
        runner = bench.load(stack, bench.pair.candidate).runner
        warm_up(runner, timing)
        before = runner.ask("conditions")
        run = runner.ask("sustain", takes_s=timing.sustained_s, seconds=timing.sustained_s)
        after = runner.ask("conditions")
    figures = {
        "s": run["end_s"] - run["begin_s"],
        "inferences": run["inferences"],
        "first_p50_ms": run["first_p50_ms"],
        "last_p50_ms": run["last_p50_ms"],
        "drift": run["last_p50_ms"] / run["first_p50_ms"],
        "frequency_mhz": before["frequency_mhz"],
        "frequency_after_mhz": after["frequency_mhz"],
        "temperature_c": before["temperature_c"],
        "temperature_after_c": after["temperature_c"],
    }
    return {f"sustained_{key}": value for key, value in figures.items()}


def _fault(bench: Bench, model: Path, size: int) -> str | None:
    """Why a model takes no batch of that size, None if it does."""
    with ExitStack() as stack:
        fault: str | None = bench.load(stack, model).runner.ask("batch", size=size)["fault"]
    return fault


def _samples_per_s(bench: Bench, models: Sequence[Path], timing: Timing, size: int) -> list[float]:
    """By the median over all sittings of a batch's time."""
    sittings = [
        sit(bench, models, timing, bool(i % 2), size) for i in range(timing.sittings if models else 0)
    ]
    durations = [timings_of(model).durations_ms for model in zip(*sittings, strict=True)]
    return [1e3 * size / float(np.median(each)) for each in durations]
