"""What classes may be called: texts that can be read, told apart and printed wherever results are shown."""

import unicodedata
from collections.abc import Iterable

from edgepress.errors import DataError
from edgepress.text import shown

_LONGEST = 200
_JOINERS = "\u200c\u200d"
"""Characters without width that belong to the spelling of Persian, Hindi and others, within a word."""


def require_class_names(names: Iterable[str], where: str) -> None:
    """Refuse names that are empty, too long, not printable, or the same as another but for how it is stored.

    Raises:
        DataError: naming the first such name and what is wrong with it.
    """
    known = dict[str, str]()
    for name in names:
        fault = _fault(name)
        if fault:
            raise DataError(
                f"a class in {where} is called {shown(repr(name), 100)}, {fault}; expected up to {_LONGEST} "
                "printable characters. Rename it"
            )
        plain = _plain(name)
        if plain in known:
            raise DataError(
                f"two classes in {where} are called {shown(ascii(known[plain]), 100)} and "
                f"{shown(ascii(name), 100)}, which look the same; expected another name for each. Rename one"
            )
        known[plain] = name


def _fault(name: str) -> str:
    if not name.strip():
        return "which is nothing"
    if name != name.strip():
        return "with space around it"
    if len(name) > _LONGEST:
        return f"of {len(name):,} characters"
    visible = name[0] + "".join(each for each in name[1:-1] if each not in _JOINERS) + name[-1]
    unseen = [each for each in visible if not each.isprintable() and unicodedata.category(each) != "Zs"]
    return f"which holds the character {shown(unseen[0])}" if unseen else ""


def _plain(name: str) -> str:
    """The name in one of the ways in which Unicode can store it, which its readers cannot tell apart."""
    return unicodedata.normalize("NFC", "".join(each for each in name if each not in _JOINERS))
