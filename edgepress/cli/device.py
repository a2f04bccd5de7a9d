"""`edgepress device`: boards and emulators, prepared and looked at."""

import argparse
from pathlib import Path

from edgepress.cli.progress import say


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand."""
    device = commands.add_parser("device", help="prepare a device, or look at it")
    verbs = device.add_subparsers(required=True, metavar="verb")
    setup = verbs.add_parser("setup", help="install the runtimes on a board, and note what it is")
    setup.add_argument("name", help="what ssh calls the board, or a device of conf/device/")
    setup.add_argument("--python", default="python3", help="the board's Python (default: python3)")
    setup.add_argument("--wheels", type=Path, metavar="FOLDER", help="packages for a board without internet")
    setup.set_defaults(run=_setup)
    check = verbs.add_parser("check", help="tell what a device is and has")
    check.add_argument("name", help="as for setup, or local")
    check.set_defaults(run=_check)


def _setup(options: argparse.Namespace) -> None:
    from edgepress.provision.setup import setup

    print(setup(options.name, options.python, options.wheels, say))


def _check(options: argparse.Namespace) -> None:
    from edgepress.provision.check import check

    print(check(options.name))
