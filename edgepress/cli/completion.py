"""`edgepress completion`: what makes a shell complete the commands, options and choices of this program."""

import argparse

from edgepress.cli.parsing import Commands

_SHELLS = ("bash", "zsh", "tcsh")
_WHERE = 'For the present shell: eval "$(edgepress completion bash)". For all: write that line in ~/.bashrc.'


def add(commands: Commands) -> None:
    """Add the subcommand."""
    completion = commands.add("completion", "print the completion of this command for a shell")
    completion.epilog = _WHERE
    completion.add_argument("shell", choices=_SHELLS)
    completion.set_defaults(run=_completion)


def _completion(options: argparse.Namespace) -> None:
    import shtab

    from edgepress.cli.commands import command_line

    print(shtab.complete(command_line(), options.shell))
