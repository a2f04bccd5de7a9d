"""The layers' times as a table, and as a CSV for DVC's plots."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

from edgepress.profiling.profile import Profile
from edgepress.profiling.rows import Cell, Row
from edgepress.report.text import ABSENT, table

COLUMNS = (
    "device", "runtime", "layer", "operator", "baseline_ms", "baseline_error_ms", "candidate_ms",
    "candidate_error_ms", "speedup",
)  # fmt: skip
_TOLD = 5
_HOW = {
    "tflite": "An operator is what the model's beginning up to it takes longer than the one before it.",
    "onnxruntime": "Nodes are those after ONNX Runtime's optimisation; its profiler's time is beside them.",
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


def profile_table(profile: Profile) -> str:
    """The layers, the rest, and the sum, of one runtime."""
    candidate, baseline = profile.candidate, profile.baseline
    heads = ("layer", "operator", "baseline", "±", "candidate", "±", "speed-up", "share")
    lines = [heads, *(_line(row, candidate.total_ms) for row in profile.rows)]
    for name, ours, theirs in (
        ("outside of these", candidate.rest_ms, baseline.rest_ms if baseline else None),
        ("all", candidate.total_ms, baseline.total_ms if baseline else None),
    ):
        speedup = ABSENT if theirs is None or name != "all" else f"{theirs / ours:.2f}×"
        share = f"{ours / candidate.total_ms:.1%}"
        lines.append((name, "", ABSENT if theirs is None else _ms(theirs), "", _ms(ours), "", speedup, share))
    title = f"{profile.runtime}: milliseconds of one inference, ± half of the 95% interval"
    parts = (title, table(lines, left=2), *_losses(profile.rows), _HOW[profile.runtime])
    return "\n".join(parts)


def _losses(rows: Sequence[Row]) -> Iterator[str]:
    """The layers that the candidate is surely slower in, those first that cost most."""
    slower = [(row.loss_ms, row) for row in rows if row.loss_ms is not None]
    told = [f"{row.layer} (+{_ms(loss)})" for loss, row in sorted(slower, key=lambda each: -each[0])]
    if told:
        more = f" and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
        yield f"Slower than the baseline: {', '.join(told[:_TOLD])}{more}."


def _line(row: Row, total_ms: float) -> tuple[str, ...]:
    share = ABSENT if row.candidate is None else f"{row.candidate.ms / total_ms:.1%}"
    speedup = ABSENT if row.speedup is None else f"{row.speedup:.2f}×"
    return (row.layer, row.operator, *_shown(row.baseline), *_shown(row.candidate), speedup, share)


def _shown(cell: Cell | None) -> tuple[str, str]:
    return (ABSENT, "") if cell is None else (_ms(cell.ms), _ms(cell.error_ms))


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.4f}"


def _numbers(cell: Cell | None) -> tuple[str, str]:
    return ("", "") if cell is None else (_rounded(cell.ms), _rounded(cell.error_ms))


def _rounded(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
