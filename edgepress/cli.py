"""Composes and checks params.yaml, shows results. To run the pipeline itself: dvc repro, or dvc exp run."""

import argparse
import sys
from collections.abc import Sequence

from edgepress.artifacts import atomic
from edgepress.config import composition
from edgepress.config.load import PARAMS
from edgepress.errors import EdgepressError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; a user's mistake gives one line and exit status 1."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except EdgepressError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgepress", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    check = commands.add_parser("check", help="prove that params.yaml is valid and equals conf/ composed")
    check.set_defaults(run=_check)
    compose = commands.add_parser("compose", help="compose conf/ into params.yaml, as dvc exp run does")
    compose.add_argument(
        "overrides", nargs="*", help="as after dvc exp run -S, e.g. quant=fp16 prune.sparsity=0.8"
    )
    compose.set_defaults(run=_compose)
    results = commands.add_parser("results", help="show what the last run measured")
    results.set_defaults(run=_results)
    return parser


def _check(_: argparse.Namespace) -> None:
    composition.check()
    print(f"{PARAMS} is valid and equals conf/")


def _compose(options: argparse.Namespace) -> None:
    text = composition.compose(options.overrides)
    with atomic(PARAMS) as temporary:
        temporary.write_text(text, encoding="utf-8")
        composition.validate(temporary)
    print(f"wrote {PARAMS}")


def _results(_: argparse.Namespace) -> None:
    from edgepress.report.results import render

    print(render())


if __name__ == "__main__":
    sys.exit(main())
