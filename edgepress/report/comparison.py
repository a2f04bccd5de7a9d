"""Two runs side by side; figures of which no honest difference can be taken are refused, with the reason."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from edgepress.errors import ComparisonError
from edgepress.report import text
from edgepress.report.caveats import warnings
from edgepress.report.revisions import Run
from edgepress.text import listed, one_line, shown

RUNTIMES = ("tflite", "onnxruntime")

_TEST_SPLIT = "data/prepared/test"
_BASELINES = {
    "tflite": "models/convert-tflite/baseline.tflite",
    "onnxruntime": "models/export-onnx/model.onnx",
}

_SETTINGS = {
    "tflite": ("kernels.threads", "kernels.cpus", "kernels.op_resolver", "kernels.delegate", "benchmark"),
    "onnxruntime": ("kernels.threads", "kernels.cpus", "kernels.execution_provider"),
}
"""Of section `device`, what changes how fast any model is."""

Row = tuple[str, str, str, str]
"""A label, two values and their difference."""

Taken = Literal["points", "share", "ratio", "overlap", "none"]
"""How a difference was taken: after − before; after / before − 1; after / before; or not at all, since the
intervals overlap or the figures cannot be compared."""


@dataclass(frozen=True)
class Figure:
    """What two runs tell of one runtime, under its key in the metrics; an interval is {low, value, high}."""

    runtime: str
    figure: str
    before: Any
    after: Any
    difference: Any
    taken: Taken


@dataclass(frozen=True)
class Comparison:
    """Of one device: the reasons why its figures are not compared, and what else must be known of them."""

    rows: Sequence[Row]
    refused: Sequence[str]
    notes: Sequence[str]
    figures: Sequence[Figure] = ()

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        figures = [asdict(each) for each in self.figures]
        return {"figures": figures, "refused": list(self.refused), "notes": list(self.notes)}


class _Line(NamedTuple):
    """A row and what stands in it."""

    row: Row
    figure: Figure


class _Pair(NamedTuple):
    """One runtime's reports of two runs."""

    runtime: str
    before: Run
    after: Run

    def of(self, key: str, of_accuracy: bool = False) -> tuple[Any, Any]:
        """The values of a key in both latency or accuracy reports; None where there is none."""
        reports = [run.accuracy if of_accuracy else run.latency for run in (self.before, self.after)]
        before, after = ((report.get(self.runtime) or {}).get(key) for report in reports)
        return before, after

    def places(self, before: object, after: object) -> str:
        """`this in that revision and …`."""
        return f"{shown(before)} in {self.before.revision} and {shown(after)} in {self.after.revision}"


class _Speedup(NamedTuple):
    """A ratio within its 95% interval."""

    low: float
    ratio: float
    high: float

    @staticmethod
    def of(report: dict[str, Any]) -> "_Speedup":
        return _Speedup(report["speedup_low"], report["speedup"], report["speedup_high"])

    def __str__(self) -> str:
        return f"{self.ratio:.2f}× ({self.low:.2f}–{self.high:.2f})"

    def as_json(self) -> dict[str, float]:
        """As plain values."""
        return {"low": self.low, "value": self.ratio, "high": self.high}


def match(before: dict[str, Run], after: dict[str, Run]) -> list[tuple[str, Run, Run]]:
    """The devices to compare: those of the same name or, where each has one only, those two.

    Raises:
        ComparisonError: there is none.
    """
    names = [name for name in after if name in before]
    if not names and len(before) == len(after) == 1:
        (first,), (second,) = before, after
        return [(f"{first}, {second}", before[first], after[second])]
    if not names:
        has = [f"{next(iter(runs.values())).revision} has {listed(list(runs))}" for runs in (before, after)]
        raise ComparisonError(
            f"there is no device in common: {' and '.join(has)}; measure both on one device"
        )
    return [(name, before[name], after[name]) for name in names]


def compare(before: Run, after: Run, only_latency: bool = False) -> Comparison:
    """What one device measured at two revisions."""
    failed = [f"it failed at {run.revision}: {run.error}" for run in (before, after) if run.error]
    if failed:
        return Comparison((), failed, ())
    rows, refused, notes, figures = list[Row](), list[str](), list[str](), list[Figure]()
    for pair in (_Pair(runtime, before, after) for runtime in RUNTIMES):
        present = [run for run in (before, after) if run.accuracy.get(pair.runtime)]
        if len(present) < 2:
            notes += [f"{pair.runtime} is in {run.revision} only" for run in present]
            continue
        reason = _unfair(pair)
        quality = [] if only_latency else list(_quality(pair))
        speed = [] if reason else list(_speed(pair))
        rows += [(pair.runtime, "", "", ""), *(line.row for line in (*quality, *speed))]
        figures += [line.figure for line in (*quality, *speed)]
        if reason:
            refused.append(f"latencies of {pair.runtime} are not compared: {reason}")
        else:
            notes += _notes(pair)
    if not _same_hash(_TEST_SPLIT, before, after) and not only_latency:
        notes.insert(0, "accuracies are not compared: they are of different test splits")
    if not refused:
        notes += [
            f"{run.revision}: {each}" for run in (before, after) for each in warnings(dict(run.latency))
        ]
    return Comparison(rows, refused, notes, figures)


def render(comparison: Comparison, before: str, after: str) -> str:
    """As a table, and below it a line for each reason and note."""
    rows = [("", before, after, "difference"), *comparison.rows]
    lines = [line.rstrip() for line in text.table(rows).splitlines()] if comparison.rows else []
    return "\n".join([*lines, *map(one_line, (*comparison.refused, *comparison.notes))])


def _unfair(pair: _Pair) -> str | None:
    """Why a difference of latencies would tell something else than which model is faster."""
    before, after = pair.before, pair.after
    kinds = before.latency["kind"], after.latency["kind"]
    if kinds[0] != kinds[1]:
        return f"they are {pair.places(*kinds)}"
    machines = before.latency["device"], after.latency["device"]
    if not _same_machine(*machines):
        names = [_machine(machine) for machine in machines]
        also = "two machines, " if names[0] == names[1] else ""
        return f"they are of {also}{pair.places(*names)}"
    for key in _SETTINGS[pair.runtime]:
        settings = [_setting(run.device, key) for run in (before, after)]
        if settings[0] != settings[1]:
            return f"device.{key} is {pair.places(*map(_yaml, settings))}"
    for run in (before, after):
        report = run.latency[pair.runtime]
        if report.get("p50_ms") is not None and report.get("speedup_low") is None:
            return f"{run.revision} has no interval of the speed-up; measure it anew, with this version"
    return None


def _same_machine(before: dict[str, Any], after: dict[str, Any]) -> bool:
    if "fingerprint" in before and "fingerprint" in after:
        return bool(before["fingerprint"] == after["fingerprint"])
    return before == after


def _machine(machine: dict[str, Any]) -> str:
    return f"{machine.get('cpu')} ({machine.get('architecture')})"


def _setting(device: Mapping[str, Any], key: str) -> Any:
    value: Any = device
    for part in key.split("."):
        value = (value or {}).get(part)
    return value


def _yaml(value: object) -> str:
    return "null" if value is None else str(value)


def _quality(pair: _Pair) -> Iterator[_Line]:
    same_data = _same_hash(_TEST_SPLIT, pair.before, pair.after)
    label, key, values = "accuracy", "accuracy", pair.of("accuracy", of_accuracy=True)
    if values == (None, None):
        agreements = [each or {} for each in pair.of("baseline_agreement", of_accuracy=True)]
        yield from _by_output(pair, agreements, same_data)
        before, after = (each.get("top1") for each in agreements)
        label, key, values = "float32's class", "baseline_agreement", (before, after)
    if values != (None, None):
        yield _line(pair, label, key, values, "{:.4f}".format, "points" if same_data else "none")
    for label, key in (("size", "size_bytes"), ("gzip", "size_gzip_bytes")):
        yield _line(pair, label, key, pair.of(key, of_accuracy=True), text.size, "share")
    if pair.of("tensor_arena_bytes") != (None, None):  # which is the same on any computer
        values = pair.of("tensor_arena_bytes")
        yield _line(pair, "tensor arena", "tensor_arena_bytes", values, text.size, "share")


def _by_output(pair: _Pair, agreements: Sequence[Mapping[str, Any]], same_data: bool) -> Iterator[_Line]:
    """How far each output agrees with that of float32, in dB, where both runs have it."""
    before, after = (each.get("outputs") or {} for each in agreements)
    taken: Taken = "points" if same_data else "none"
    for name in (name for name in after if name in before):
        values = [outputs[name].get("snr_db") for outputs in (before, after)]
        yield _line(
            pair, f"{shown(name)} of float32's", f"outputs.{name}.snr_db", values, text.decibels, taken
        )


def _speed(pair: _Pair) -> Iterator[_Line]:
    same_baseline = _same_hash(_BASELINES[pair.runtime], pair.before, pair.after)
    if pair.of("p50_ms") != (None, None):
        taken: Taken = "none" if same_baseline else "share"
        yield _line(pair, "p50", "p50_ms", pair.of("p50_ms"), text.duration, taken)
        yield _speedup_line(pair, same_baseline)
    for label, key, form in text.FIGURES:
        if any(pair.of(key)):
            yield _line(pair, label, key, pair.of(key), form, "share")


def _speedup_line(pair: _Pair, same_baseline: bool) -> _Line:
    """With the baseline in the same sittings, the machine's speed cancels out, so these tell what differs."""
    before, after = (_Speedup.of(run.latency[pair.runtime]) for run in (pair.before, pair.after))
    shown, difference = text.ABSENT, None
    taken: Taken = "none"
    if same_baseline and after.low <= before.high and before.low <= after.high:
        shown, taken = "no difference", "overlap"
    elif same_baseline:
        ratio = _Speedup(after.low / before.high, after.ratio / before.ratio, after.high / before.low)
        shown, difference, taken = str(ratio), ratio.as_json(), "ratio"
    figure = Figure(pair.runtime, "speedup", before.as_json(), after.as_json(), difference, taken)
    return _Line(("  speed-up", str(before), str(after), shown), figure)


def _notes(pair: _Pair) -> Iterator[str]:
    if pair.of("p50_ms") == (None, None):
        yield f"{pair.runtime} has no measured latencies: they are {pair.before.latency['kind']}"
    elif not _same_hash(_BASELINES[pair.runtime], pair.before, pair.after):
        networks = f"speed-ups of {pair.runtime} are over different float32 networks"
        yield f"{networks}; p50 alone does not tell whether the machine was as fast both times"
    resolvers = pair.of("op_resolver")
    if resolvers[0] != resolvers[1]:
        yield f"what computed {pair.runtime} is {pair.places(*resolvers)}"
    versions = pair.of("runtime_version")
    if versions[0] != versions[1]:
        yield f"the version of {pair.runtime} is {pair.places(*versions)}"


def _line(
    pair: _Pair, label: str, key: str, values: Sequence[Any], form: Callable[[float], str], taken: Taken
) -> _Line:
    before, after = values
    if before is None or after is None:
        difference, shown = None, text.ABSENT
    else:
        difference, shown = _difference(before, after, taken)
    row = (f"  {label}", text.show(before, form), text.show(after, form), shown)
    taken = "none" if difference is None else taken
    return _Line(row, Figure(pair.runtime, key, before, after, difference, taken))


def _difference(before: float, after: float, taken: Taken) -> tuple[float | None, str]:
    """As a number, and as it is shown."""
    if taken == "points":
        return after - before, f"{after - before:+.4f}"
    if taken == "share" and before:
        return after / before - 1, f"{after / before - 1:+.1%}"
    return None, "" if taken == "none" else text.ABSENT


def _same_hash(path: str, before: Run, after: Run) -> bool:
    return before.hashes.get(path) == after.hashes.get(path)
