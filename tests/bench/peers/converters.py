"""This converter against its peers, in one run, on one thread: what converting costs, and what comes of it.

    make bench-converters
    .venv/bin/python -m tests.bench.peers.converters --quick --here mobilenet_v2

The peers are installed into environments of their own in .bench/ first: 4 GB, once. onnx2tf wants Python 3.12
or newer: one on the path, one of pyenv, or the one that EDGEPRESS_BENCH_PYTHON names. Networks have random
weights; images are crops of scikit-learn's photographs. Nothing but the peers' packages is downloaded.
`--here` leaves out the peers that are not in this environment, and downloads nothing. The exit status is 1 if
a goal is missed.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tests.bench.figures import machine_line, table
from tests.bench.peers.contestants import CALIBRATION, FLOAT, HERE, INT8, Contestant, edgepress
from tests.bench.peers.entries import Entry
from tests.bench.peers.goals import MIB, Goal, goals, memory_of_large
from tests.bench.peers.large import write_large
from tests.bench.peers.latency import outputs, timed
from tests.bench.peers.processes import run
from tests.bench.peers.programs.networks import NETWORKS, SIZE
from tests.bench.peers.quantised import write_quantised
from tests.bench.workspace import say
from tests.zoo.photos import crops

_COMPARED = 8
_RUNS = 5
_QUICK_S = 10.0
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
    "misaligned",
    "p50 ms",
    "ours/it",
    "difference",
)
_NOTE = """\
s: a fresh process from its start to its end, the median of five in turns, or one if that is above 10 s (of
litert-quantizer: without litert-torch before it); peak: the largest VmHWM of its processes; misaligned:
buffers that begin at no multiple of 16 bytes; p50: of inferences on one thread, all models of a network in
turns; ours/it: ratio of the p50; difference: the largest from PyTorch's logits, over their range.

onnx2tf writes float16 beside float32, which cannot be switched off; -nuo leaves out its simplifier. The
faster of the two is the opponent. int8: edgepress and onnx2tf get the network as int8 in ONNX, as the stage
convert-tflite does; onnx2tf makes a file of it that computes in floats. edgepress --quant int8 and onnx2tf
-oiqt get float32 and images, and find the ranges first. The best peer is found in half of the sittings, and
compared in the other half: a latency is within its goal unless the whole 95% interval of the ratio, with
sittings drawn again, lies above it."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    print(machine_line(), flush=True)
    with tempfile.TemporaryDirectory(prefix="edgepress-peers-") as name:
        folder = Path(name)
        _write_inputs(folder, options.networks)
        found: list[Goal] = []
        for title, contestants in (("float32", FLOAT), ("int8", INT8)):
            taking_part = {n: c for n, c in contestants.items() if n in HERE or not options.here}
            groups = [_measured(folder, network, taking_part, options.quick) for network in options.networks]
            entries = [entry for group in groups for entry in group]
            rows = [_row(entry, group[0]) for group in groups for entry in group]
            reasons = [f"{each.network}, {each.converter}: {each.reason}" for each in entries if each.reason]
            print("\n".join(("", title, "", table(_HEADS, rows), *reasons)), flush=True)
            found += [goal for group in groups for goal in goals(title, group, folder)]
        found += [] if options.quick else [_large(folder)]
    print("\n" + "\n".join((_NOTE, "", *map(str, found))))
    if any(goal.held is False for goal in found):
        sys.exit(1)


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="bench-converters", description=__doc__, formatter_class=form)
    parser.add_argument("--quick", action="store_true", help="each conversion once, few inferences")
    parser.add_argument("--here", action="store_true", help=f"only {' and '.join(HERE)}")
    known = ", ".join(NETWORKS)
    parser.add_argument("networks", nargs="*", metavar="network", default=list(NETWORKS), help=f"of: {known}")
    return parser


def _write_inputs(folder: Path, networks: Sequence[str]) -> None:
    """The images, and each network as PyTorch's weights, as ONNX and as int8, with its outputs for some."""
    images, _ = crops(CALIBRATION, SIZE, seed=1)
    np.save(folder / "calibration.npy", images)
    np.save(folder / "calibration_nhwc.npy", np.ascontiguousarray(images.transpose(0, 2, 3, 1)))
    np.save(folder / "compared.npy", crops(_COMPARED, SIZE, seed=2)[0])
    for network in networks:
        say(f"making {network}")
        run([sys.executable, _MAKER, network, folder], folder)
        write_quantised(folder, network)


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
        entry.reason = " ".join(str(error).split())[:200]


def _row(entry: Entry, ours: Entry) -> tuple[str, ...]:
    if entry.reason:
        return (entry.network, entry.converter, *["none"] * (len(_HEADS) - 2))
    return (
        entry.network,
        entry.converter,
        f"{entry.seconds:.2f}",
        f"{entry.peak_bytes / MIB:.0f}",
        f"{entry.target.stat().st_size / 1e6:.1f}",
        str(entry.inside["ops"]),
        str(entry.inside["transpose_ops"]),
        str(entry.misaligned),
        f"{entry.p50_ms:.2f}",
        "" if ours.reason else f"{ours.p50_ms / entry.p50_ms:.3f}",
        f"{entry.difference:.1e}",
    )


def _large(folder: Path) -> Goal:
    size = write_large(folder / "large.onnx")
    say(f"a network of {size / 1e6:.0f} MB, its weights beside the file")
    try:
        cost = edgepress(folder, "large", folder / "large.tflite")
    except RuntimeError as error:
        return Goal(f"{size / 1e6:.0f} MB", False, str(error))
    return memory_of_large(cost.peak_bytes, size, cost.seconds)


if __name__ == "__main__":
    main()
