"""Ends the program when nobody is left who waits for it."""

import os
import select
import signal


def end_with_input() -> None:
    """From now on a child kills this process when nobody is left who could write to its input.

    This process may then be in a call that never returns. The child itself ends with this process, of which
    it holds the other end of a pipe.
    """
    alive, held = os.pipe()
    parent = os.getpid()
    if os.fork():
        return
    os.close(held)
    os.closerange(1, 3)
    watch = select.poll()
    watch.register(0, select.POLLRDHUP)
    watch.register(alive, 0)
    if alive not in {descriptor for descriptor, _ in watch.poll()}:
        os.kill(parent, signal.SIGKILL)
    os._exit(0)
