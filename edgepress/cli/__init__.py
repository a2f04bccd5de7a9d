"""The command `edgepress`; subcommands with much to say have a module of their own."""

import sys

if sys.argv[0] == "-m" and not sys.flags.safe_path:
    del sys.path[0]  # the current folder, whose files may be called as Python's modules are

import signal
from collections.abc import Sequence
from pathlib import PurePath

if PurePath(sys.argv[0]).name in (
    "-m",
    "edgepress",
):  # until the boundary stands, Ctrl-C just ends it
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand and give its exit status; without `arguments`, the command line of this process."""
    from edgepress.boundary import end_process, run
    from edgepress.cli.output import OUTPUT

    def command() -> None:
        from edgepress.cli.commands import run_command

        run_command(sys.argv[1:] if arguments is None else arguments)

    def whole() -> int:
        return run(command, lambda: OUTPUT.verbose)

    if arguments is not None:
        return whole()
    end_process("edgepress", whole)
    return 0
