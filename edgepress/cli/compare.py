"""`edgepress compare`: two runs side by side."""

import argparse

from edgepress.errors import ComparisonError


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand."""
    compare = commands.add_parser("compare", help="show two runs side by side, with what may be compared")
    compare.add_argument("before", metavar="REV_A", help="a commit, branch, tag or experiment")
    compare.add_argument("after", metavar="REV_B", nargs="?", help="another; else the files as they are here")
    latency = "latency alone; exit status 1 if it cannot be compared"
    compare.add_argument("--latency", action="store_true", help=latency)
    compare.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> None:
    """Print a table for each device.

    Raises:
        ComparisonError: latency was asked for and cannot be compared.
    """
    from edgepress.report.comparison import compare, match, render
    from edgepress.report.revisions import read_runs

    devices = match(read_runs(options.before), read_runs(options.after))
    found = [compare(before, after, options.latency) for _, before, after in devices]
    for (name, before, after), comparison in zip(devices, found, strict=True):
        print(f"{name}:\n{render(comparison, before.revision, after.revision)}\n")
    refused = [reason for comparison in found for reason in comparison.refused]
    if options.latency and refused:
        raise ComparisonError(refused[0])
