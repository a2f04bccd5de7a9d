"""What a model may claim before anything is computed or allocated for it, and the errors that say so."""

from collections.abc import Iterable
from typing import NoReturn

from edgepress.errors import UnsupportedModelError
from edgepress.text import one_line

MAX_FILE_BYTES = 2**31 - 1
"""Protobuf's own limit for one message, and so for a model that holds its external data itself."""

MAX_BESIDE_BYTES = 2**36
"""Of external data that stays beside the model."""

MAX_ELEMENTS = 2**31 - 1
"""Of one tensor, for a batch of one; no runtime for edge devices indexes further."""

MAX_NODES = 100_000
MAX_RANK = 16
MAX_NESTING = 6
"""Of graphs within nodes, branches and bodies of loops: the time to look into them grows with each level."""

MAX_NAME = 1_000

_SHOWN = 3


def refuse(what: str, remedy: str = "export the model again") -> NoReturn:
    """Raise the error for a model that cannot be taken, in one line."""
    raise UnsupportedModelError(f"{one_line(what, 400)}; {remedy}")


def listed(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    known = [one_line(repr(name), 80) for name in names]
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return ", ".join(known[:_SHOWN]) + more
