"""The command line's grammar: errors in one line, with the nearest word there is."""

import argparse
import re
from collections.abc import Iterator, Sequence
from typing import NoReturn

from edgepress.config.schema import nearest
from edgepress.errors import UsageError

_CHOICE = re.compile(r"(?P<where>.*)invalid choice: '(?P<word>.*)' \(choose from (?P<known>.*)\)", re.DOTALL)
_UNKNOWN = re.compile(r"unrecognized arguments: (?P<words>.*)", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """As `argparse` has it, but it raises its errors, for the boundary to print."""

    def error(self, message: str) -> NoReturn:
        """Refuse a command line.

        Raises:
            UsageError: with the nearest word that would do.
        """
        raise UsageError(f"{_nearest(message, self)}; see: {self.prog} --help")


def general_options() -> Parser:
    """Options `-q` and `-v`, for every command to have as well; they do not undo what stands before it."""
    parser = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, only results and errors")
    parser.add_argument("-v", "--verbose", action="store_true", help="time each step, trace errors")
    return parser


class Version(argparse.Action):
    """Shows the version; it is looked up only then."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="show the version")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(f"edgepress {version('edgepress')}")
        parser.exit()


def options_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The options of a parser and of its commands."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from options_of(command)


def _nearest(message: str, parser: argparse.ArgumentParser) -> str:
    if match := _CHOICE.fullmatch(message):
        known = re.findall(r"'([^']*)'", match["known"])
        where = match["where"].removeprefix("argument ").rstrip(": ")
        return f"{where} {match['word']!r} is unknown; expected one of: {', '.join(known)}" + _hint(
            match["word"], known
        )
    if match := _UNKNOWN.fullmatch(message):
        word = match["words"].split()[0].partition("=")[0]
        return message + (_hint(word, sorted(set(options_of(parser)))) if word.startswith("-") else "")
    return message


def _hint(word: str, known: list[str]) -> str:
    near = nearest(word, known)
    return f". Did you mean {near!r}?" if near else ""


class Commands:
    """Where commands are added, each with the general options."""

    def __init__(self, actions: "argparse._SubParsersAction[Parser]", general: Parser) -> None:
        self._actions, self._general = actions, general

    def add(self, name: str, what: str) -> Parser:
        """A command, which `what` says in its help and in the list of commands."""
        return self._actions.add_parser(name, help=what, description=what, parents=[self._general])

    def group(self, name: str, what: str) -> "Commands":
        """A command that has commands of its own."""
        actions = self.add(name, what).add_subparsers(required=True, metavar="verb")
        return Commands(actions, self._general)
