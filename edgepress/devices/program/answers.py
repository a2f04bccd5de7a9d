"""What requests are answered with."""

from typing import Any

Answer = dict[str, Any]


class RequestError(Exception):
    """A request that cannot be served; `kind` says what is at fault."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
