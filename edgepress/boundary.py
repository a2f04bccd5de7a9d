"""The one boundary between this project and whoever runs it: every command and every stage ends here.

Whatever happens is told in one line on standard error, with a status that says of which kind it was. Standard
library only, and little of it, so that a stage that is switched off starts fast.
"""

import codecs
import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from edgepress.errors import ArtifactError, EdgepressError, UsageError
from edgepress.system import NO_ROOM, cause, exhausted, out_of_memory
from edgepress.text import one_line, shown
from edgepress.watcher import TRACEBACK, watched

REFUSED = 1
"""The exit status after what a user can mend; 2 if it is the command line."""

BUG = 70
"""The exit status after a mistake of this project's own (EX_SOFTWARE of sysexits.h)."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SAME_S = 1.0
_OUTPUT = "standard output"
_ASCII = {"×": "x", "→": "->", "–": "-", "−": "-", "µ": "u", "…": "...", "°": " deg", "≥": ">=", "≤": "<="}
_SPELL = "edgepress.spell"


_lacking: list[BaseException] = []
"""The error for lack of memory that has been told, if one has."""


class Ended(BaseException):
    """A signal, not Ctrl-C's, asks this process to end. It is no `Exception`, so nothing recovers from it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage's main function as a whole process, which ends with it unless all went well."""
    module = sys.modules["__main__"].__spec__
    if module is None:  # run by other code than `python -m stages.NAME`
        end_process("the stage", lambda: run(lambda: _without_exit("the stage", main)))
    else:
        name = module.name.rpartition(".")[2].replace("_", "-")
        end_process(name, lambda: run(lambda: _without_arguments(name, main)))


def end_process(name: str, work: Callable[[], int]) -> None:
    """End this process with the status that `work` gives, unless it is 0; a line tells its sudden death."""
    _replace_closed()
    status = watched(name, work)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # all is written and told: Ctrl-C may end what is left
    if _lacking:
        os._exit(status)  # without memory, the end of TensorFlow's threads is waited for without end
    if status:
        sys.exit(status)


def run(main: Callable[[], object], verbose: Callable[[], bool] = lambda: False) -> int:
    """Call `main`, tell in one line how it failed if it did, and give the exit status.

    `verbose` is asked whether each error's traceback is wanted, not only that of an unexpected one.
    """
    status = 0
    with _streams(), _signals():
        try:
            try:
                main()
            except SystemExit as ending:  # argparse's, after --help
                status = ending.code if isinstance(ending.code, int) else 0
            sys.stdout.flush()
        except BaseException as error:
            with suppress(OSError):
                sys.stdout.flush()
            return _tell(error, verbose())
    return status


def _without_arguments(name: str, main: Callable[[], None]) -> None:
    if len(sys.argv) > 1:
        raise UsageError(
            f"{name} takes no arguments, but got {shown(' '.join(sys.argv[1:]))}; it reads params.yaml. "
            "For other values: dvc exp run -S KEY=VALUE"
        )
    _without_exit(name, main)


def _without_exit(name: str, main: Callable[[], None]) -> None:
    try:
        main()
    except SystemExit as ending:
        raise EdgepressError(
            f"{name} was ended by exit({shown(repr(ending.code))}) in code that it ran, such as a network's; "
            "expected code that returns. Take the call out"
        ) from ending


def _tell(error: BaseException, verbose: bool) -> int:
    """Print a line about an error; the exit status."""
    expected = isinstance(error, EdgepressError)
    if verbose or (not expected and os.environ.get(TRACEBACK)):
        _print_traceback(error)
    status, line = _described(error)
    if line and sys.stderr is not None:
        with suppress(OSError):
            print(f"{_label()} {one_line(line)}", file=sys.stderr, flush=True)
    return status


def _described(error: BaseException) -> tuple[int, str]:
    """The exit status, and what to say."""
    if isinstance(error, EdgepressError):
        return error.status, _judgement(error)
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT, "interrupted; every file is either whole or as it was"
    if isinstance(error, Ended):
        return 128 + error.number, f"ended by {error}; every file is either whole or as it was"
    if isinstance(error, BrokenPipeError) and error.filename == _OUTPUT:
        return 128 + signal.SIGPIPE, ""  # the reader, e.g. `head`, has seen enough
    if isinstance(error, ModuleNotFoundError) and not _ours(str(error.name)):
        return REFUSED, f"the package of module {error.name} is not installed; install it with: make install"
    refused = cause(error)
    if refused is None:
        return BUG, _bug(error)
    if out_of_memory(error):
        _lacking.append(error)
    elif isinstance(error, OSError):
        refused = f"{_place(error)}{refused}"
    return REFUSED, refused


def _judgement(error: EdgepressError) -> str:
    """An error's own words, unless they judge a network or a file for what the system lacked meanwhile."""
    lacking = None if isinstance(error, ArtifactError) else exhausted(error)
    if lacking is not None and out_of_memory(error):
        _lacking.append(error)
    return lacking or str(error)


def _place(error: OSError) -> str:
    if error.errno in NO_ROOM:
        import tempfile

        return f"cannot write {error.filename or f'temporary files in {tempfile.gettempdir()}'}: "
    return "" if error.filename is None else f"{shown(os.fsdecode(error.filename))}: "


def _bug(error: BaseException) -> str:
    """An unexpected error, with the line of ours that it came through last."""
    trace, where = error.__traceback__, "unknown"
    while trace is not None:
        if _ours(trace.tb_frame.f_globals.get("__name__", "")):
            where = f"{trace.tb_frame.f_globals['__name__']}, line {trace.tb_lineno}"
        trace = trace.tb_next
    what = one_line(f"{type(error).__name__}: {error}".rstrip(": "), 300)
    return f"this is a bug in edgepress: {what} (in {where}); to report it, run again with {TRACEBACK}=1"


def _ours(module: str) -> bool:
    return module.partition(".")[0] in ("edgepress", "stages", "__main__")


def _print_traceback(error: BaseException) -> None:
    import traceback

    with suppress(OSError):
        traceback.print_exception(error)


def _label() -> str:
    """`error:`, in red on a terminal, unless NO_COLOR (no-color.org) is set."""
    coloured = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return "\x1b[31merror:\x1b[0m" if coloured else "error:"


@contextmanager
def _signals() -> Iterator[None]:
    """Signals that ask to end raise an exception, once; what then cleans up is not disturbed."""
    first = float("inf")

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal first
        now = time.monotonic()
        if first == float("inf"):
            first = now
            raise KeyboardInterrupt if number == signal.SIGINT else Ended(number)
        if now - first > _SAME_S:  # asked again, and not only twice for once, as terminal and parent may do
            os._exit(128 + number)

    before = {}
    try:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and a shell's `&` set it
                before[number] = signal.signal(number, end)
    except ValueError:  # not the main thread, to which signals belong
        pass
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Output(io.FileIO):
    """Standard output, whose errors say that they are its."""

    def write(self, data: object) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            error.filename = _OUTPUT
            raise


def _replace_closed() -> None:
    """Put nothing in the place of closed standard streams, whose numbers would become those of files."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w" if number else "r"))  # noqa: SIM115, PTH123


@contextmanager
def _streams() -> Iterator[None]:
    """Standard streams that take every character, and whose failure is told once, not again at exit."""
    _replace_closed()
    codecs.register_error(_SPELL, _spelt)
    if sys.stderr is not None and sys.stderr is sys.__stderr__:
        sys.stderr.reconfigure(errors=_SPELL)  # type: ignore[union-attr]
    original = sys.__stdout__
    if original is None or sys.stdout is not original:
        yield
        return
    original.flush()
    descriptor = original.fileno()
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Output(descriptor, "w", closefd=False)),
        encoding=original.encoding,
        errors=_SPELL,
        line_buffering=original.line_buffering,
        write_through=original.write_through,
    )
    try:
        yield
    finally:
        _close(sys.stdout, descriptor)
        sys.stdout = original


def _close(stream: io.TextIOWrapper, descriptor: int) -> None:
    try:
        stream.close()
    except OSError:  # it has been told; what is left has nowhere to go
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
        with suppress(OSError):
            stream.close()


def _spelt(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that a stream's encoding lacks."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    spelt = (_ASCII.get(each) or each.encode("ascii", "backslashreplace").decode() for each in lacking)
    return "".join(spelt), error.end
