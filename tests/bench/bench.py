"""What edgepress costs, as tables of medians and ratios; it asserts no goal.

    make bench
    .venv/bin/python -m tests.bench.bench --quick startup

It runs in a copy of the work tree, uncommitted changes and all, in a temporary folder that it removes.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench import models, nodes, pipeline
from tests.bench.figures import machine_line
from tests.bench.workspace import Bench, prepare, say

SECTIONS: dict[str, tuple[str, Callable[[Bench], str]]] = {
    "repro": ("dvc repro, from nothing", pipeline.whole_run),
    "noop": ("dvc repro with nothing to do", pipeline.nothing_to_do),
    "startup": ("Stages that are switched off", pipeline.switched_off),
    "latency": ("int8 against float32", models.int8_latency),
    "converters": ("The default converter against onnx-tf", models.converters),
    "nodes": ("Converting networks of many nodes", nodes.number_of_nodes),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = _parser()
    options = parser.parse_args(arguments)
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}; expected any of: {', '.join(SECTIONS)}")
    print(machine_line(), flush=True)
    if options.quick:
        print("Quick: small data, networks and numbers of rounds; the figures mean little.", flush=True)
    with tempfile.TemporaryDirectory(prefix="edgepress-bench-") as folder:
        say("dvc repro:")
        bench = prepare(Path(folder) / "project", options.quick)
        for name, (title, section) in SECTIONS.items():
            if not options.sections or name in options.sections:
                say(f"{name} …")
                print(f"\n{title}\n\n{section(bench)}", flush=True)


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=form)
    parser.add_argument("--quick", action="store_true", help="everything small: does the bench itself work?")
    parser.add_argument(
        "sections", nargs="*", metavar="section", help=f"run only these: {', '.join(SECTIONS)}"
    )
    return parser


if __name__ == "__main__":
    main()
