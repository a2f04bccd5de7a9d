"""How commands tell what they do."""

import sys


def say(step: str) -> None:
    """A line for who waits."""
    print(step, file=sys.stderr, flush=True)
