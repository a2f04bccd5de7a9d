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

from edgepress.text import one_line


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
