"""`edgepress device`: boards and emulators, prepared and looked at."""

import argparse
from pathlib import Path

from edgepress.cli.output import add_json, say, tell
from edgepress.cli.parsing import Commands


def add(commands: Commands) -> None:
    """Add the subcommand."""
    verbs = commands.group("device", "prepare a device, or look at it")
    setup = verbs.add("setup", "install the runtimes on a board, and note what it is")
    setup.add_argument("name", help="what ssh calls the board, or a device of conf/device/")
    setup.add_argument("--python", default="python3", help="the board's Python (default: python3)")
    setup.add_argument("--wheels", type=Path, metavar="FOLDER", help="packages for a board without internet")
    setup.set_defaults(run=_setup)
    check = verbs.add("check", "tell what a device is and has")
    check.add_argument("name", help="as for setup, or local")
    add_json(check)
    check.set_defaults(run=_check)


def _setup(options: argparse.Namespace) -> None:
    from edgepress.provision.setup import setup

    print(setup(options.name, options.python, options.wheels, say))


def _check(options: argparse.Namespace) -> None:
    from edgepress.provision.check import check

    told = check(options.name)
    tell(options, told.text(), told.values)
