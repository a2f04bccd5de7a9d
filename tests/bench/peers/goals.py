"""What this converter is to reach against its peers, each goal as a ratio of one run."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepress.devices.statistics import speedup
from tests.bench.peers.contestants import CALIBRATING, ONNX2TF, OURS
from tests.bench.peers.entries import Entry

MIB = 2**20
TIME, LATENCY = 0.35, 1.0
MEMORY_FACTOR, MEMORY_SPARE = 2.2, 200 * MIB


@dataclass(frozen=True)
class Goal:
    """A figure and its limit; `note` stands behind it. None for `held` if it cannot be told."""

    what: str
    held: bool | None
    note: str

    def __str__(self) -> str:
        return f"{ {True: 'yes', False: 'NO', None: '?'}[self.held]:4} {self.what}: {self.note}"


def goals(title: str, group: list[Entry], folder: Path) -> list[Goal]:
    """All goals for one network: the first entry is ours, the others are peers or ours, too."""
    ours, name = group[0], f"{group[0].network} {title}"
    if ours.reason:
        return [Goal(name, False, ours.reason)]
    source = folder / f"{ours.network}{'.int8' if title == 'int8' else ''}.onnx"
    peers = [entry for entry in group if entry.converter not in (OURS, CALIBRATING)]
    found = [_memory(name, ours.peak_bytes, source.stat().st_size), _aligned(name, ours)]
    if not peers:
        return found
    found += _times(name, group)
    if able := [entry for entry in peers if not entry.reason]:
        return [*found, _latency(name, ours, able), _operators(name, ours, able)]
    return [*found, Goal(f"{name}: latency and operators", None, "no peer converts it")]


def memory_of_large(peak: int, size: int, seconds: float) -> Goal:
    """The goal for the network of 300 MB."""
    return _memory(f"{size / 1e6:.0f} MB, external data, in {seconds:.1f} s", peak, size)


def _times(name: str, group: list[Entry]) -> list[Goal]:
    """From the same file; where onnx2tf finds ranges itself, against ours with that, too."""
    ours, forms = group[0], [entry for entry in group if entry.converter.startswith(ONNX2TF)]
    finding = [entry for entry in forms if "-oiqt" in entry.converter]
    found = [_time(name, ours, [entry for entry in forms if entry not in finding])]
    calibrating = next((entry for entry in group if entry.converter == CALIBRATING), None)
    if calibrating is not None and not calibrating.reason and finding:
        found.append(_time(f"{name}, ranges found", calibrating, finding))
    return found


def _time(name: str, ours: Entry, forms: list[Entry]) -> Goal:
    what, able = f"{name}: time to convert / that of {ONNX2TF}", [e for e in forms if not e.reason]
    if not able:
        return Goal(what, None, f"it cannot: {forms[0].reason if forms else 'it does not take part'}")
    fastest = min(able, key=lambda entry: entry.seconds)
    return _ratio(
        f"{name}: time to convert / that of {fastest.converter}", ours.seconds / fastest.seconds, TIME
    )


def _latency(name: str, ours: Entry, peers: list[Entry]) -> Goal:
    """Held unless the whole 95% interval of the ratio lies above the limit.

    The best peer is found in one half of the sittings and compared in the other: in the same it would be best
    by its luck, too. A copy of a file seems a twentieth slower or faster than the file in some sittings.
    """
    best = min(peers, key=lambda entry: float(np.median(entry.times[::2])))
    found = speedup(ours.times[1::2], best.times[1::2])  # the baseline's time over the candidate's
    note = f"{found.ratio:.3f}, 95% interval {found.low:.3f} to {found.high:.3f}, target {LATENCY:g}"
    return Goal(f"{name}: latency / that of {best.converter}", found.low <= LATENCY, note)


def _operators(name: str, ours: Entry, peers: list[Entry]) -> Goal:
    """No more than the peer that has fewest, whose HARD_SWISH on codes may be two operators here.

    LiteRT's kernel for those took 36 times as long as an ADD and a MUL (0.72 ms for 1×56×56×64).
    """
    fewest = min(peers, key=lambda entry: entry.inside["ops"])
    counts, doubled = (ours.inside["ops"], fewest.inside["ops"]), fewest.coded_hard_swishes
    note = f"{counts[0]}, {fewest.converter} {counts[1]}"
    note += f" with {doubled} HARD_SWISH on codes, each two here" if doubled else ""
    return Goal(f"{name}: operators", counts[0] <= counts[1] + doubled, note)


def _aligned(name: str, ours: Entry) -> Goal:
    return Goal(f"{name}: buffers not at multiples of 16 bytes", ours.misaligned == 0, str(ours.misaligned))


def _memory(name: str, peak: int, size: int) -> Goal:
    limit = MEMORY_FACTOR * size + MEMORY_SPARE
    what = f"{name}: peak memory / ({MEMORY_FACTOR:g} x its size + {MEMORY_SPARE // MIB} MiB)"
    return _ratio(what, peak / limit, 1.0)


def _ratio(what: str, value: float, limit: float) -> Goal:
    return Goal(what, value <= limit, f"{value:.2f}, target {limit:g}")
