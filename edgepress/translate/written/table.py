"""From operator to what writes its body."""

from collections.abc import Callable, Mapping
from typing import Any

from edgepress.translate.written import along_axes, mathematics, sums
from edgepress.translate.written.body import Writer

BODIES: dict[str, Writer] = {**mathematics.WRITERS, **along_axes.WRITERS, **sums.WRITERS}

SPECIAL: dict[str, Callable[[Mapping[str, Any]], bool]] = {**sums.SPECIAL}
"""Of operators that have planners, which nodes are written out, by their attributes."""
