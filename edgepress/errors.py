"""The errors a user can cause, as a tree.

EdgepressError
├── ConfigError             a value in params.yaml or conf/ is missing, unknown, mistyped or out of range
├── DataError               a data set is absent, too small or of the wrong form
├── ArtifactError           a file of the pipeline cannot be read or written
├── TrainingError           training or fine-tuning diverged
├── UnsupportedModelError   a network holds something that this step cannot take
├── ConversionError         a converter to TFLite failed
├── DeviceError             the model could not be run on the device
├── ComparisonError         of two runs' figures no honest difference can be taken
└── UsageError              a command line has an unknown word or lacks one

Each message names the value, what is allowed and the remedy, in one line. Violations of our own
invariants are not among them: those are assertions.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from edgepress.text import one_line

_SINGLE_FILE: ContextVar[bool] = ContextVar("single file", default=False)
_OPTIONS = {"convert": "--converter", "convert.io_dtype": "--io-dtype", "quant": "--quant"}
"""What `edgepress convert` calls settings of the pipeline."""


@contextmanager
def single_file() -> Iterator[None]:
    """Until this context ends, messages speak of a command for single files, not of the pipeline."""
    token = _SINGLE_FILE.set(True)
    try:
        yield
    finally:
        _SINGLE_FILE.reset(token)


def setting(name: str, value: str = "") -> str:
    """A setting, or the choice of a value, in the words of the command: `quant=int8`, `--quant int8`."""
    if _SINGLE_FILE.get():
        return f"{_OPTIONS[name]} {value}".rstrip()
    return f"{name}={value}" if value else name


def choose(name: str, value: str) -> str:
    """As `setting`, as an argument of that command: `-S quant=int8`, `--quant int8`."""
    return setting(name, value) if _SINGLE_FILE.get() else f"-S {setting(name, value)}"


def made_anew() -> str:
    """The remedy for a damaged file that a command makes."""
    return "make it again" if _SINGLE_FILE.get() else "delete it and run: dvc repro"


def without_translation() -> str:
    """The remedy for a network that holds what TFLite cannot express, or the translator cannot."""
    if _SINGLE_FILE.get():
        return "Change the network, or let it end before that: --outputs NAME …"
    return "Change the network, or go without: -S prune=none -S cluster=none -S convert=none"


def is_single_file() -> bool:
    """Whether messages speak of a command for single files."""
    return _SINGLE_FILE.get()


class EdgepressError(Exception):
    """Base of every error that a stage reports in one line instead of a traceback.

    As text it is one line of printable characters and bounded length, whatever names or values it quotes.
    A command or stage that it ends has the exit status `status`.
    """

    status = 1

    def __str__(self) -> str:
        return one_line(super().__str__())


class ConfigError(EdgepressError):
    """A configuration value is missing, unknown, mistyped or out of range."""


class DataError(EdgepressError):
    """A data set is absent, too small or of the wrong form."""


class ArtifactError(EdgepressError):
    """A file of the pipeline cannot be read or written."""


class TrainingError(EdgepressError):
    """Training or fine-tuning diverged."""


class UnsupportedModelError(EdgepressError):
    """A network holds something that this step cannot take."""


class ConversionError(EdgepressError):
    """A converter to TFLite failed."""


class DeviceError(EdgepressError):
    """The model could not be run on the device."""


class ComparisonError(EdgepressError):
    """Of two runs' figures no honest difference can be taken."""


class UsageError(EdgepressError):
    """A command line has an unknown word or lacks one."""

    status = 2
