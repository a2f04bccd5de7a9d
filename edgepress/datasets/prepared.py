"""The prepared data set as the stages read it: one folder for each split, and a description."""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format

from edgepress.artifacts import broken, read_json, write_json
from edgepress.datasets.numpy_files import map_array
from edgepress.errors import ArtifactError, DataError
from edgepress.writing import atomic

Array = npt.NDArray[Any]

UNKNOWN = -1
"""The class of each sample in a data set without classes."""


@dataclass(frozen=True)
class Split:
    """Raw inputs `x` (N, C, H, W) as the data set stores them (e.g. uint8), and classes `y` (N,) int64.

    In a data set without classes, all of `y` is `UNKNOWN`.
    """

    x: Array
    y: Array

    def __len__(self) -> int:
        return len(self.y)

    @property
    def has_classes(self) -> bool:
        return UNKNOWN not in self.y[:1]

    def inputs(self, indices: "slice | Array" = slice(None)) -> Array:
        """Raw inputs as float32 (n, C, H, W), the form every network here takes."""
        return np.asarray(self.x[indices], np.float32)


@dataclass(frozen=True)
class Description:
    """What the stages must know of a data set; `mean` and `std` are per channel, over the training split."""

    name: str
    input_shape: tuple[int, ...]
    class_names: tuple[str, ...]
    value_range: tuple[float, float]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    samples: dict[str, int]
    source: str
    licence: str

    @property
    def classes(self) -> int:
        return len(self.class_names)


def save_split(folder: Path, split: Split) -> None:
    """Write `x.npy` and `y.npy`; the same values give the same bytes."""
    for name, array in (("x", split.x), ("y", split.y)):
        save_array(folder / f"{name}.npy", array.shape, array.dtype, [array])


def save_array(path: Path, shape: tuple[int, ...], dtype: "np.dtype[Any]", parts: Iterable[Array]) -> None:
    """Write a .npy file part by part, whole or not at all: the bytes are those of `np.save`.

    Plain writing, unlike a memory map, ends in an error rather than a crash when the disk is full.
    """
    header = {"descr": format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with atomic(path) as temporary, temporary.open("wb") as file:
        format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype).data)


def load_split(folder: Path) -> Split:
    """Read a split, memory-mapped.

    Raises:
        ArtifactError: a file is absent or damaged.
    """
    split = Split(_load(folder / "x.npy"), _load(folder / "y.npy"))
    if len(split.x) != len(split.y):
        raise broken(folder, "a split", f"{len(split.x)} inputs but {len(split.y)} classes")
    return split


def load_calibration(folder: Path, samples: int) -> Array:
    """The first `samples` calibration inputs, float32 (n, C, H, W); of a small data set, all that there are.

    Raises:
        DataError: there are none.
    """
    split = load_split(folder)
    if not len(split):
        raise DataError(
            f"quant.calibration.samples is {samples} but the calibration split has 0; "
            "raise data.splits.calibration or bring more data"
        )
    return split.inputs(slice(samples))


def save_description(path: Path, description: Description) -> None:
    """Write the description as JSON."""
    write_json(path, asdict(description))


def load_description(path: Path) -> Description:
    """Read the description.

    Raises:
        ArtifactError: the file is absent or damaged.
    """
    values = read_json(path)
    try:
        kept: dict[str, Any] = {field.name: values[field.name] for field in fields(Description)}
    except KeyError as error:
        raise broken(path, "a data description", f"no {error}") from None
    wrong = [name for name, holds in _FORM.items() if not holds(kept[name])]
    if wrong or not len(kept["mean"]) == len(kept["std"]) == kept["input_shape"][0]:
        raise broken(path, "a data description", f"{', '.join(wrong) or 'mean or std'} of another form")
    frozen: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in kept.items()}
    return Description(**frozen)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def _is_list(value: object, holds: Callable[[object], bool], length: int | None = None) -> bool:
    return isinstance(value, list) and all(map(holds, value)) and length in (None, len(value))


_FORM: dict[str, Callable[[Any], bool]] = {
    "name": _is_text,
    "input_shape": lambda value: _is_list(value, _is_count, 3) and min(value) > 0,
    "class_names": lambda value: _is_list(value, _is_text),
    "value_range": lambda value: _is_list(value, _is_number, 2),
    "mean": lambda value: _is_list(value, _is_number),
    "std": lambda value: _is_list(value, _is_number),
    "samples": lambda value: isinstance(value, dict) and all(map(_is_count, value.values())),
    "source": _is_text,
    "licence": _is_text,
}
"""What each part of a description is as JSON."""


def _load(path: Path) -> Array:
    try:
        return map_array(path)
    except FileNotFoundError:
        raise ArtifactError(f"cannot read {path}: no such file; make it with: dvc repro") from None
    except ValueError as error:
        raise broken(path, "a numpy array", error) from error
