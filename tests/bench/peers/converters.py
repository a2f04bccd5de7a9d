"""This converter against its peers, in one run, on one thread: what converting costs, and what comes of it.

    make bench-converters
    .venv/bin/python -m tests.bench.peers.converters --quick --here mobilenet_v2

The peers are installed into environments of their own in .bench/ first: 4 GB, once. Networks have random
weights; images are crops of scikit-learn's photographs. Nothing but the peers' packages is downloaded.
`--here` leaves out the peers that are not in this environment, and downloads nothing.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgepress.convert.flatbuffer import tflite_metrics
from tests.bench.figures import machine_line, table
from tests.bench.peers.contestants import CALIBRATION, FLOAT, HERE, INT8, Contestant, edgepress
from tests.bench.peers.large import write_large
from tests.bench.peers.latency import outputs, timed
from tests.bench.peers.processes import Cost, run
from tests.bench.peers.programs.networks import NETWORKS, SIZE
from tests.bench.workspace import say
from tests.zoo.photos import crops

MIB = 2**20
_COMPARED = 8
_RUNS = 3
_QUICK_S = 30.0
"""Who takes longer than this converts once."""
_MAKER = Path(__file__).with_name("programs") / "networks.py"
_HEADS = (
    "network",
    "converter",
    "s",
    "peak MiB",
    "MB",
    "ops",
    "transposes",
    "p50 ms",
    "ours/it",
    "difference",
)
_NOTE = """\
s: a fresh process from its start to its end, the median of three in turns, or one if that is above 30 s (of
ai-edge-quantizer: without litert-torch before it); peak: the largest VmHWM of its processes; p50: of
inferences on one thread, all models of a network in turns; ours/it: ratio of the p50; difference: the largest
from PyTorch's logits, over their range."""


@dataclass
class Entry:
    """What came of one converter and one network; `reason` says why nothing did."""

    network: str
    converter: str
    target: Path
    costs: list[Cost] = field(default_factory=list)
    reason: str = ""
    times_ms: np.ndarray | None = None
    difference: float = 0.0

    @property
    def seconds(self) -> float:
        return statistics.median(cost.seconds for cost in self.costs)

    @property
    def peak_bytes(self) -> int:
        return max(cost.peak_bytes for cost in self.costs)

    @property
    def p50_ms(self) -> float:
        assert self.times_ms is not None
        return float(np.median(self.times_ms))


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    print(machine_line(), flush=True)
    with tempfile.TemporaryDirectory(prefix="edgepress-peers-") as name:
        folder = Path(name)
        _write_inputs(folder, options.networks)
        targets: list[str] = []
        for title, contestants in (("float32", FLOAT), ("int8", INT8)):
            taking_part = {n: c for n, c in contestants.items() if n in HERE or not options.here}
            groups = [_measured(folder, network, taking_part, options.quick) for network in options.networks]
            rows = [_row(entry, group[0]) for group in groups for entry in group]
            print(f"\n{title}\n\n{table(_HEADS, rows)}", flush=True)
            targets += [line for group in groups for line in _targets(title, group, folder)]
        targets += [] if options.quick else _large(folder)
    print("\n" + "\n".join((_NOTE, "", *targets)))


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="bench-converters", description=__doc__, formatter_class=form)
    parser.add_argument("--quick", action="store_true", help="each conversion once, few inferences")
    parser.add_argument("--here", action="store_true", help=f"only {' and '.join(HERE)}")
    known = ", ".join(NETWORKS)
    parser.add_argument("networks", nargs="*", metavar="network", default=list(NETWORKS), help=f"of: {known}")
    return parser


def _write_inputs(folder: Path, networks: Sequence[str]) -> None:
    """The images, and each network as PyTorch's weights, as ONNX, and with its outputs for some images."""
    images, _ = crops(CALIBRATION, SIZE, seed=1)
    np.save(folder / "calibration.npy", images)
    np.save(folder / "compared.npy", crops(_COMPARED, SIZE, seed=2)[0])
    for network in networks:
        say(f"making {network}")
        run([sys.executable, _MAKER, network, folder], folder)


def _measured(folder: Path, network: str, contestants: Mapping[str, Contestant], quick: bool) -> list[Entry]:
    """Everything about one network, ours first."""
    entries = [Entry(network, name, folder / f"{network}.{name}.tflite") for name in contestants]
    for _ in range(1 if quick else _RUNS):
        for entry in entries:
            if not entry.reason and (not entry.costs or entry.seconds < _QUICK_S):
                _convert(folder, entry, contestants[entry.converter])
    made = {entry.converter: entry for entry in entries if not entry.reason}
    compared, expected = folder / "compared.npy", np.load(folder / f"{network}.outputs.npy")
    say(f"{network}: timing {', '.join(made)}")
    rounds, runs = (1, 5) if quick else (4, 20)
    times = timed({name: entry.target for name, entry in made.items()}, compared, rounds, runs)
    for name, entry in made.items():
        entry.times_ms = times[name]
        entry.difference = float(np.abs(outputs(entry.target, compared) - expected).max() / np.ptp(expected))
    return entries


def _convert(folder: Path, entry: Entry, contestant: Contestant) -> None:
    say(f"{entry.network}: {entry.converter}")
    try:
        entry.costs.append(contestant(folder, entry.network, entry.target))
    except (RuntimeError, OSError) as error:
        entry.reason = " ".join(str(error).split())[:120]


def _row(entry: Entry, ours: Entry) -> tuple[str, ...]:
    if entry.reason:
        return (entry.network, entry.converter, *[""] * (len(_HEADS) - 3), entry.reason)
    inside = tflite_metrics(entry.target)
    return (
        entry.network,
        entry.converter,
        f"{entry.seconds:.1f}",
        f"{entry.peak_bytes / MIB:.0f}",
        f"{entry.target.stat().st_size / 1e6:.1f}",
        str(inside["ops"]),
        str(inside["transpose_ops"]),
        f"{entry.p50_ms:.2f}",
        "" if ours.reason else f"{ours.p50_ms / entry.p50_ms:.3f}",
        f"{entry.difference:.1e}",
    )


def _targets(title: str, group: list[Entry], folder: Path) -> list[str]:
    """Whether each target holds for one network."""
    ours, peers = group[0], [entry for entry in group[1:] if not entry.reason]
    name = f"{ours.network} {title}"
    if ours.reason or not peers:
        return [f"NO   {name}: {ours.reason or 'no peer converts it'}"]
    best = min(peers, key=lambda entry: entry.p50_ms)
    lines = [_held(f"{name}: latency / that of {best.converter}", ours.p50_ms / best.p50_ms, 1.02)]
    if title == "float32":
        fastest = min(peers, key=lambda entry: entry.seconds)
        ratio = ours.seconds / fastest.seconds
        lines.append(_held(f"{name}: time to convert / that of {fastest.converter}", ratio, 0.5))
    size = (folder / f"{ours.network}.onnx").stat().st_size
    return [*lines, _memory(name, ours.peak_bytes, size)]


def _large(folder: Path) -> list[str]:
    size = write_large(folder / "large.onnx")
    say(f"a network of {size / 1e6:.0f} MB, its weights beside the file")
    try:
        cost = edgepress(folder, "large", folder / "large.tflite")
    except RuntimeError as error:
        return [f"NO   {size / 1e6:.0f} MB: {error}"]
    return [_memory(f"{size / 1e6:.0f} MB, external data, {cost.seconds:.0f} s", cost.peak_bytes, size)]


def _memory(name: str, peak: int, size: int) -> str:
    return _held(f"{name}: peak memory / (4 x its size + 1 GiB)", peak / (4 * size + 1024 * MIB), 1.0)


def _held(what: str, value: float, limit: float) -> str:
    return f"{'yes' if value <= limit else 'NO':4} {what}: {value:.2f}, target {limit:g}"


if __name__ == "__main__":
    main()
