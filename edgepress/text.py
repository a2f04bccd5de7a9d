"""What comes from outside, in a form that may be printed: escaped, on one line, not too long.

A name in a model, a file's name, a board's answer or a library's exception may hold anything: line breaks,
sequences that a terminal obeys, characters that turn the direction of writing, megabytes. Standard library
only.
"""

from collections.abc import Sequence

NAME = 200
"""Characters of a name or a value that are printed."""

MESSAGE = 4000
"""Characters of a whole message that are printed."""

_GAP = " … "


def shown(text: object, length: int = NAME) -> str:
    """The text with all that is not printable escaped as in Python, at most `length` characters.

    What is longer loses its middle, since the end of a message holds the remedy. What has been shown is not
    changed by being shown again.
    """
    whole = str(text)
    if not whole.isprintable():
        whole = "".join(each if each.isprintable() else _escaped(each) for each in whole)
    if len(whole) <= length:
        return whole
    tail = (length - len(_GAP)) * 2 // 5
    return whole[: length - len(_GAP) - tail] + _GAP + whole[len(whole) - tail :]


def one_line(text: object, length: int = MESSAGE) -> str:
    """As `shown`, but line breaks and other runs of white space become single spaces, as in prose."""
    return shown(" ".join(str(text).split()), length)


def listed(names: Sequence[str], most: int = 10, length: int = 80) -> str:
    """The first names, each as `shown`, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shown(name, length) for name in names[:most]) + more


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
