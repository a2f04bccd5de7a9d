"""Section `data`: which data set, and how it is split."""

from dataclasses import dataclass
from typing import Literal

from edgepress.config.schema import require


@dataclass(frozen=True)
class Splits:
    """Fractions of the whole set, but `calibration` is a number of samples; training gets the rest."""

    test: float
    validation: float
    calibration: int

    def __post_init__(self) -> None:
        require(0 < self.test < 1, "test", self.test, "a fraction in (0, 1)")
        require(0 < self.validation < 1, "validation", self.validation, "a fraction in (0, 1)")
        both = self.test + self.validation
        require(both < 1, "test + splits.validation", both, "less than 1, so that training gets a share")
        require(self.calibration >= 0, "calibration", self.calibration, "an integer >= 0")


@dataclass(frozen=True)
class Digits:
    """scikit-learn's 8×8 handwritten digits, resized to `size`×`size` with `channels` equal channels."""

    size: int
    channels: Literal[1, 3]
    splits: Splits

    def __post_init__(self) -> None:
        require(8 <= self.size <= 256, "size", self.size, "an integer in [8, 256]")


DataConfig = Digits
CHOICES: dict[str, type[DataConfig]] = {"digits": Digits}
