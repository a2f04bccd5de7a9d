"""Section `data`: which data set, and how it is split.

`path` is where the data lies, a DVC dependency of `prepare-data`: an edit there prepares anew. `source` and
`licence` are provenance, said of the data in its description and not interpreted.
"""

from dataclasses import dataclass
from typing import Literal

from edgepress.config.schema import require, require_integer


@dataclass(frozen=True)
class Splits:
    """Fractions of the whole set, but `calibration` is a number of samples; training gets the rest.

    Of a set that came with splits of its own, those stay, and the fractions are of the remainder.
    """

    test: float
    validation: float
    calibration: int

    def __post_init__(self) -> None:
        require(0 < self.test < 1, "test", self.test, "a fraction in (0, 1)")
        require(0 < self.validation < 1, "validation", self.validation, "a fraction in (0, 1)")
        both = self.test + self.validation
        require(both < 1, "test + splits.validation", both, "less than 1, so that training gets a share")
        require_integer("calibration", self.calibration, 0, 1_000_000)


DIGITS_PATH = "edgepress/datasets/digits.py"
"""The digits come with scikit-learn, so what DVC watches is the module that makes them."""


@dataclass(frozen=True)
class Digits:
    """scikit-learn's 8×8 handwritten digits, resized to `size`×`size` with `channels` equal channels."""

    size: int
    channels: Literal[1, 3]
    splits: Splits
    path: str = DIGITS_PATH

    def __post_init__(self) -> None:
        require_integer("size", self.size, 8, 256)
        own = "for data of your own choose data=image_folder or data=npz"
        require(self.path == DIGITS_PATH, "path", self.path, f"{DIGITS_PATH!r} for data=digits; {own}")


@dataclass(frozen=True)
class ImageFolder:
    """A folder or zip of `<class>/*` or `<split>/<class>/*` images, resized to `size`×`size`.

    `fit` says how: `stretch` keeps all of an image, `crop` keeps its proportions and cuts off the borders.
    Unreadable images are refused, or with `skip_corrupt` left out. Without `classes`, folders mean nothing,
    and the images are inputs alone.
    """

    path: str
    source: str
    licence: str
    size: int
    channels: Literal[1, 3]
    fit: Literal["stretch", "crop"]
    skip_corrupt: bool
    splits: Splits
    classes: bool = True

    def __post_init__(self) -> None:
        require_integer("size", self.size, 8, 1024)


Layout = Literal["nchw", "nhwc", "nhw", "nf", "named"]
"""The axes of `x`; or `named`: the arrays are a network's inputs by their names."""


@dataclass(frozen=True)
class Npz:
    """Arrays `x` and `y` in a .npz file; `layout` names the axes of `x`, of which `n` counts the samples.

    Vectors, `nf`, become images of one pixel (N, F, 1, 1), so that every other part takes them as they are.
    Where arrays are `named`, each but `y` and `class_names` is an input of the network of that name.
    """

    path: str
    source: str
    licence: str
    layout: Layout
    splits: Splits


@dataclass(frozen=True)
class Inputs:
    """Arrays without classes: `x` in a .npz file, a .npy file, or a folder of these; `layout` as in `Npz`.

    Where arrays are `named`, all of a .npz, or those of a folder's .npy files, are inputs of that name.
    Nothing can be learnt from them but what a network says of them itself, and no accuracy be measured.
    """

    path: str
    source: str
    licence: str
    layout: Layout
    splits: Splits


DataConfig = Digits | ImageFolder | Npz | Inputs
CHOICES: dict[str, type[DataConfig]] = {
    "digits": Digits,
    "image_folder": ImageFolder,
    "npz": Npz,
    "inputs": Inputs,
}


def has_names(config: DataConfig) -> bool:
    """Whether the data is a network's inputs by name, not images or vectors."""
    return isinstance(config, Npz | Inputs) and config.layout == "named"


def has_classes(config: DataConfig) -> bool:
    """Whether the data says what its samples are."""
    return config.classes if isinstance(config, ImageFolder) else not isinstance(config, Inputs)
