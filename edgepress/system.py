"""What the operating system refused, told as that: never as a fault of a file's content.

Libraries raise the same types for both. An `OSError` with a number comes from the system; one without comes
from a decoder that did not like what it read. A lack of memory has as many types as there are libraries.
Standard library only.
"""

import errno
from collections.abc import Iterator
from pathlib import Path

from edgepress.text import one_line

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A disk is full, or a file may not grow any more."""

_OF_CONTENT = (errno.EINVAL, errno.EOVERFLOW)
"""Also what the system says to a place in a file that a damaged file names."""

_EXHAUSTED = (*NO_ROOM, errno.EMFILE, errno.ENFILE, errno.EIO, errno.EAGAIN)
"""What the system lacks, or what its hardware fails at, whatever file it was asked for."""

_REMEDIES = {
    **dict.fromkeys(NO_ROOM, "free some space and run again"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "close other programs, or raise the limit: ulimit -n"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "check the permissions"),
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ETIMEDOUT), "check the disk or network, and run again"),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.EISDIR), "check the name"),
    **dict.fromkeys((errno.ELOOP, errno.ENAMETOOLONG), "check the name"),
}

_OUT_OF_MEMORY = (
    "Cannot allocate memory",
    "can't allocate memory",
    "can't start new thread",
    "failed to map segment",
    "bad_alloc",
    "bad allocation",
    "OOM when allocating",
    "ResourceExhausted",
)
"""What native libraries write of a lack of memory."""

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
NO_LIMIT_BYTES = 2**60
"""What stands for a limit where there is none."""


def cause(error: BaseException) -> str | None:
    """What the system refused and the remedy, if that is why `error` was raised; else None.

    Where it is None, the content of what was read is at fault, or the program.
    """
    if out_of_memory(error):
        return f"there is not enough memory{memory_limit()}; close other programs, or raise the limit"
    for each in _causes(error):
        if isinstance(each, OSError) and each.errno is not None and each.errno not in _OF_CONTENT:
            return f"{told(each)}; {_REMEDIES.get(each.errno, 'mend it and run again')}"
    return None


def exhausted(error: BaseException) -> str | None:
    """As `cause`, if the system lacked memory, space or the like: no fault of what was worked on."""
    lacking = any(isinstance(each, OSError) and each.errno in _EXHAUSTED for each in _causes(error))
    return cause(error) if lacking or out_of_memory(error) else None


def told(error: OSError) -> str:
    """What the system says, without numbers and names."""
    return one_line(error.strerror or error, 200)


def out_of_memory(error: BaseException) -> bool:
    """Whether memory, or room for a further thread's, is what was lacking."""
    return any(_lacked_memory(each) for each in _causes(error))


def memory_limit() -> str:
    """` (limit: …)`, the least that this process is held to, or nothing where there is none."""
    limits = {"ulimit -v": address_space(), "the container": _container()}
    held = {name: most for name, most in limits.items() if most < NO_LIMIT_BYTES}
    if not held:
        return ""
    name = min(held, key=held.__getitem__)
    return f" (limit: {held[name] / 2**20:,.0f} MiB, by {name})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that it was explicitly raised from."""
    following: BaseException | None = error
    while following is not None:
        yield following
        following = following.__cause__


def _lacked_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    native = isinstance(error, RuntimeError | ImportError) or type(error).__module__ != "builtins"
    return native and any(words in f"{type(error).__name__}: {error}" for words in _OUT_OF_MEMORY)


def address_space() -> int:
    """The most addresses that this process may have, in bytes, by `ulimit -v`."""
    import resource

    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    return NO_LIMIT_BYTES if most == resource.RLIM_INFINITY else most


def _container() -> int:
    for path in _CGROUP_LIMITS:
        try:
            text = Path(path).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            return int(text)
    return NO_LIMIT_BYTES
