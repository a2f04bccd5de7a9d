"""Reads requests and answers them."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING

from edgepress.devices.program.answers import Answer, RequestError
from edgepress.devices.program.bare import Bare

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO


def main() -> None:
    """Serve standard input."""
    serve(_session(), sys.stdin, own_stdout())


def _session() -> Bare:
    try:
        from edgepress.devices.program.session import Session
    except ImportError as error:
        return Bare(error)
    return Session()


def answer(session: Bare, line: str) -> Answer:
    """Serve one request; a failure becomes an answer, too."""
    verbs: dict[str, Callable[..., Answer]] = {name: getattr(session, name) for name in session.verbs}
    try:
        request = json.loads(line)
        # The default action of the signal ends a process even where a runtime hangs in a call of its own.
        signal.setitimer(signal.ITIMER_REAL, request.pop("limit_s", 0))
        return verbs[request.pop("do")](**request)
    except RequestError as error:
        return {"error": str(error), "kind": error.kind}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "kind": "request"}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def serve(session: Bare, requests: TextIO, answers: TextIO) -> None:
    """Answer requests until `quit` or the end of the input."""
    for line in requests:
        reply = answer(session, line)
        print(json.dumps(reply), file=answers, flush=True)
        if session.ended:
            return


def own_stdout() -> TextIO:
    """Standard output for answers alone: whatever a library prints goes to standard error."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own
