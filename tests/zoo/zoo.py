"""`make zoo`: each network through the translator, float32 and int8, into docs/architectures.md.

    python -m tests.zoo.zoo [--resume] [--only float|int8|own] [NAME ...]

Each export and each measurement of an architecture runs in a process of its own, so that what one leaves
behind, or breaks on, touches no other; our own networks, which are small, run after them. Exports are kept
in .zoo/, as are results; `--resume` measures only what has none. With names the rows are printed and the
document stays as it is; `--only own` renews the tables of our own networks in it. The exit status is 1 if a
row misses its bounds and neither FLOAT_LIMITS nor INT8_LIMITS says why.
"""

import argparse
import json
import subprocess
import sys
import time
from typing import Any

from tests.repo.closure import ROOT
from tests.zoo.architectures import ARCHITECTURES, Architecture
from tests.zoo.own import table as own_table
from tests.zoo.own.registry import NETWORKS, SECTIONS
from tests.zoo.own.run import measured
from tests.zoo.own.table import HEADING, OwnRow
from tests.zoo.table import Row, document, rendered, surprises

CACHE, TARGET = ROOT / ".zoo", ROOT / "docs" / "architectures.md"
TIMEOUT_S = 1200
TASKS = ("float", "int8")


def main() -> int:
    """Measure what is asked for, and write or print the tables."""
    options = _options()
    if unknown := set(options.names) - {each.name for each in ARCHITECTURES} - NETWORKS.keys():
        print(
            f"unknown: {', '.join(sorted(unknown))}; see tests/zoo/architectures.py and tests/zoo/own/",
            file=sys.stderr,
        )
        return 2
    CACHE.mkdir(exist_ok=True)
    rows = _architectures(options) if options.only != "own" else []
    own = _own(options) if options.only in (None, "own") else {}
    if options.names or options.only in TASKS:
        lines = [*map(rendered, rows), *map(own_table.rendered, own.values())]
        print("\n".join(lines))
    else:
        _write(document(rows) if rows else None, own_table.document(SECTIONS, own))
    missed = {row.architecture.name: surprises(row) for row in rows}
    missed |= {name: own_table.surprises(row) for name, row in own.items()}
    for name, bounds in missed.items():
        if bounds:
            print(f"{name} misses: {', '.join(bounds)}", file=sys.stderr)
    return 1 if any(missed.values()) else 0


def _architectures(options: argparse.Namespace) -> list[Row]:
    chosen = [each for each in ARCHITECTURES if not options.names or each.name in options.names]
    rows = []
    for number, architecture in enumerate(chosen, 1):
        started = time.perf_counter()
        tasks = [options.only] if options.only else TASKS
        results = {task: _result(architecture, task, options.resume) for task in tasks}
        rows.append(Row(architecture, results.get("float"), results.get("int8")))
        elapsed = time.perf_counter() - started
        print(f"{number}/{len(chosen)} {rendered(rows[-1])} {elapsed:.0f} s", file=sys.stderr, flush=True)
    return rows


def _own(options: argparse.Namespace) -> dict[str, OwnRow]:
    chosen = [name for name in NETWORKS if not options.names or name in options.names]
    return measured(chosen, CACHE, options.resume)


def _write(architectures: str | None, own: str) -> None:
    """Write the document; without new rows of the architectures those that it has stay."""
    before = architectures or TARGET.read_text(encoding="utf-8").partition(f"\n{HEADING}\n")[0]
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(before + own, encoding="utf-8")
    print(f"wrote {TARGET.relative_to(ROOT)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.zoo.zoo")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--resume", action="store_true", help="keep results that are there")
    parser.add_argument("--only", choices=(*TASKS, "own"))
    return parser.parse_args()


def _result(architecture: Architecture, task: str, resume: bool) -> dict[str, Any]:
    """A measurement as plain values, or `error` and why there is none."""
    target = CACHE / f"{architecture.name}.{task}.json"
    if resume and target.is_file():
        kept: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
        return kept
    source = CACHE / f"{architecture.name}.{architecture.library}.{architecture.size}.onnx"
    error = "" if source.is_file() else _run("export", architecture.name, source)
    error = error or _run(task, architecture.name, source, target)
    if not error:
        measured: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
        return measured
    target.unlink(missing_ok=True)
    return {"error": error}


def _run(task: str, *arguments: object) -> str:
    """Run one task in a fresh process; what went wrong, in a line, or ''."""
    command = [sys.executable, "-m", "tests.zoo.one", task, *map(str, arguments)]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{task} took more than {TIMEOUT_S} s"
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return f"{task}: {lines[-1][:300] if lines else f'exit status {done.returncode}'}"


if __name__ == "__main__":
    sys.exit(main())
