"""The command `edgepress`; subcommands with much to say have a module of their own."""

from edgepress.cli.main import main

__all__ = ["main"]
