"""The layers' times as a table, and as a CSV for DVC's plots."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from edgepress.profiling.profile import Profile
from edgepress.profiling.rows import Cell, Row
from edgepress.profiling.times import ModelTimes
from edgepress.report.text import ABSENT, show, table
from edgepress.text import shown

COLUMNS = (
    "device", "runtime", "layer", "operator", "baseline_ms", "baseline_error_ms", "candidate_ms",
    "candidate_error_ms", "speedup",
)  # fmt: skip
_TOLD = 5
_HOW = {
    "tflite": "An operator is what the model's beginning up to it takes longer than the one before it.",
    "onnxruntime": "Nodes are those after ONNX Runtime's optimisation; its profiler itself takes time.",
}


def profile_csv(profiles: Mapping[str, Sequence[Profile]]) -> bytes:
    """A line for each layer of each runtime of each device; a time that a model does not have is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for device, found in profiles.items():
        for profile in found:
            for row in profile.rows:
                times = [*_numbers(row.baseline), *_numbers(row.candidate), _rounded(row.speedup)]
                writer.writerow([device, profile.runtime, row.layer, row.operator, *times])
    return text.getvalue().encode()


def profile_values(profile: Profile) -> dict[str, Any]:
    """The layers and sums of one runtime as plain values; a time that a model does not have is None."""
    models = {"candidate": profile.candidate, "baseline": profile.baseline}
    sums = {
        name: times and {"outside_ms": times.rest_ms, "total_ms": times.total_ms, "plain_ms": times.plain_ms}
        for name, times in models.items()
    }
    layers = [{**asdict(row), "speedup": row.speedup, "loss_ms": row.loss_ms} for row in profile.rows]
    return {"layers": layers, **sums}


def profile_table(profile: Profile) -> str:
    """The layers, the rest, and the whole, of one runtime."""
    candidate, baseline = profile.candidate, profile.baseline
    heads = ("layer", "operator", "baseline", "±", "candidate", "±", "speed-up", "share")
    lines = [heads, *(_line(row, candidate.total_ms) for row in profile.rows)]
    lines += _sums(candidate, baseline)
    title = f"{profile.runtime}: milliseconds of one inference, ± half of the 95% interval"
    parts = (title, table(lines, left=2), *_losses(profile.rows), _HOW[profile.runtime])
    return "\n".join(parts)


def _sums(candidate: ModelTimes, baseline: ModelTimes | None) -> Iterator[tuple[str, ...]]:
    """What the layers are a part of; a speed-up is told of no time that a profiler's is in."""
    rest_ms, total_ms, plain_ms = candidate.rest_ms, candidate.total_ms, candidate.plain_ms
    before = (baseline.rest_ms, baseline.total_ms, baseline.plain_ms) if baseline else (None, None, None)
    yield _sum("outside of these", before[0], rest_ms, share=rest_ms / total_ms)
    if plain_ms is None:
        yield _sum("all", before[1], total_ms, _ratio(before[1], total_ms), 1.0)
    else:
        yield _sum("all, with the profiler", before[1], total_ms, share=1.0)
        yield _sum("all, without it", before[2], plain_ms, _ratio(before[2], plain_ms))


def _sum(
    name: str, theirs: float | None, ours: float, speedup: float | None = None, share: float | None = None
) -> tuple[str, ...]:
    return (name, "", show(theirs, _ms), "", _ms(ours), "", *_shares(speedup, share))


def _ratio(theirs: float | None, ours: float) -> float | None:
    return None if theirs is None else theirs / ours


def _shares(speedup: float | None, share: float | None) -> tuple[str, str]:
    return show(speedup, "{:.2f}×".format), show(share, "{:.1%}".format)


def _losses(rows: Sequence[Row]) -> Iterator[str]:
    """The layers that the candidate is surely slower in, those first that cost most."""
    slower = [(row.loss_ms, row) for row in rows if row.loss_ms is not None]
    told = [f"{shown(row.layer)} (+{_ms(loss)})" for loss, row in sorted(slower, key=lambda each: -each[0])]
    if told:
        more = f" and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
        yield f"Slower than the baseline: {', '.join(told[:_TOLD])}{more}."


def _line(row: Row, total_ms: float) -> tuple[str, ...]:
    share = None if row.candidate is None else row.candidate.ms / total_ms
    cells = *_shown(row.baseline), *_shown(row.candidate)
    return (row.layer, row.operator, *cells, *_shares(row.speedup, share))


def _shown(cell: Cell | None) -> tuple[str, str]:
    return (ABSENT, "") if cell is None else (_ms(cell.ms), _ms(cell.error_ms))


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.4f}"


def _numbers(cell: Cell | None) -> tuple[str, str]:
    return ("", "") if cell is None else (_rounded(cell.ms), _rounded(cell.error_ms))


def _rounded(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
