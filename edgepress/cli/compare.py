"""`edgepress compare`: two runs side by side."""

import argparse

from edgepress.cli.output import add_json, tell
from edgepress.cli.parsing import Commands
from edgepress.errors import ComparisonError
from edgepress.text import shown


def add(commands: Commands) -> None:
    """Add the subcommand."""
    compare = commands.add("compare", "show two runs side by side, with what may be compared")
    compare.add_argument("before", metavar="REV_A", help="a commit, branch, tag or experiment")
    compare.add_argument("after", metavar="REV_B", nargs="?", help="another; else the files as they are here")
    latency = "latency alone; exit status 1 if it cannot be compared"
    compare.add_argument("--latency", action="store_true", help=latency)
    add_json(compare)
    compare.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> None:
    """Print a table for each device.

    Raises:
        ComparisonError: latency was asked for and cannot be compared.
    """
    from edgepress.report.comparison import compare, match, render
    from edgepress.report.revisions import read_runs

    devices = match(read_runs(options.before), read_runs(options.after))
    found = {name: compare(before, after, options.latency) for name, before, after in devices}
    before, after = devices[0][1].revision, devices[0][2].revision
    tables = [f"{shown(name)}:\n{render(comparison, before, after)}\n" for name, comparison in found.items()]
    values = {name: comparison.as_json() for name, comparison in found.items()}
    tell(options, "\n".join(tables), {"before": before, "after": after, "devices": values})
    refused = [reason for comparison in found.values() for reason in comparison.refused]
    if options.latency and refused:
        raise ComparisonError(refused[0])
