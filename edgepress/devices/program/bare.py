"""What can be asked of a device that has nothing but Python."""

from __future__ import annotations

from typing import ClassVar

from edgepress.devices.program.answers import Answer, RequestError
from edgepress.devices.program.machine import probe


class Bare:
    """A session without numpy, which no runtime does without; `ended` is whether it is over."""

    verbs: ClassVar[tuple[str, ...]] = ("probe", "start", "quit")

    def __init__(self, reason: ImportError | None = None) -> None:
        self._reason = reason
        self.ended = False

    def probe(self) -> Answer:
        """What the device is, has and does at the moment."""
        return probe()

    def start(self, runtime: str, cpus: list[int] | None = None, attended: bool = False) -> Answer:
        """Say what is missing."""
        raise RequestError("runtime", f"numpy cannot be imported: {self._reason}")

    def quit(self) -> Answer:
        """Let the program end."""
        self.ended = True
        return {}
