"""The prepared data set as the stages read it: one folder for each split, and a description."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt
from numpy.lib import format

from edgepress.artifacts import broken, read_json, write_json
from edgepress.datasets.numpy_files import map_array
from edgepress.datasets.samples import INPUT, Samples
from edgepress.errors import ArtifactError, DataError
from edgepress.text import shown
from edgepress.writing import atomic

Array = npt.NDArray[Any]

UNKNOWN = -1
"""The class of each sample in a data set without classes."""


@dataclass(frozen=True)
class Split:
    """Inputs as the data set stores them, and classes `y` (N,) int64.

    Inputs are raw images or vectors `x` (N, C, H, W), e.g. uint8, or else `named`: arrays (N, ...) of any
    type by the names of the network's inputs, `x` being empty. In a data set without classes, all of `y` is
    `UNKNOWN`.
    """

    x: Array
    y: Array
    named: Mapping[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def has_classes(self) -> bool:
        return UNKNOWN not in self.y[:1]

    def inputs(self, indices: "slice | Array" = slice(None)) -> Array:
        """Raw images or vectors as float32 (n, C, H, W), the form every network trained here takes."""
        assert not self.named, "named inputs are no images"
        return np.asarray(self.x[indices], np.float32)

    def samples(self, indices: "slice | Array" = slice(None)) -> Samples:
        """The inputs by name, in their own types, for a network from anywhere."""
        arrays = self.named or {INPUT: self.x}
        return Samples({name: array[indices] for name, array in arrays.items()})


@dataclass(frozen=True)
class InputDescription:
    """Of an input: the shape of a sample, numpy's name of the type, the least and the largest value."""

    shape: tuple[int, ...]
    dtype: str
    limits: tuple[float, float]


@dataclass(frozen=True)
class Description:
    """What the stages must know of a data set.

    Of images and vectors, `input_shape` is (C, H, W), and `mean` and `std` are per channel, over the training
    split; of named inputs these are empty. `inputs` describes each array, `x` or the named ones.
    """

    name: str
    input_shape: tuple[int, ...]
    class_names: tuple[str, ...]
    value_range: tuple[float, float]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    samples: dict[str, int]
    source: str
    licence: str
    inputs: Mapping[str, InputDescription] = field(default_factory=dict)

    @property
    def named(self) -> bool:
        """Whether the inputs are a network's own by their names, not images or vectors."""
        return not self.input_shape

    @property
    def told(self) -> str:
        """The shape of a sample, or those of its named inputs, in words."""
        parts = [f"{shown(name, 80)} {one.dtype} {one.shape}" for name, one in self.inputs.items()]
        return ", ".join(parts) if self.named else str(self.input_shape)

    @property
    def classes(self) -> int:
        return len(self.class_names)


IMAGES, CLASSES = "x.npy", "y.npy"
_NAMED = "inputs"
"""The folder, in that of a split, of inputs that have names."""


def stored_name(name: str, named: bool) -> str:
    """The file of an input, in the folder of its split; a name may hold what no file's may."""
    return f"{_NAMED}/{quote(name, safe='')}.npy" if named else f"{name}.npy"


def input_files(folder: Path) -> dict[str, Path]:
    """The file of each input of a split by the name that the network has for it; `input` for images.

    Raises:
        ArtifactError: there is none.
    """
    found = sorted((folder / _NAMED).glob("*.npy"))
    if not found:
        return {INPUT: folder / IMAGES}
    return {unquote(file.stem): file for file in found}


def save_split(folder: Path, split: Split) -> None:
    """Write `x.npy`, or a file for each named input, and `y.npy`; the same values give the same bytes."""
    arrays = split.named or {"x": split.x}
    for name, array in arrays.items():
        save_array(folder / stored_name(name, bool(split.named)), array.shape, array.dtype, [array])
    save_array(folder / CLASSES, split.y.shape, split.y.dtype, [split.y])


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
    y, arrays = _load(folder / CLASSES), {name: _load(file) for name, file in input_files(folder).items()}
    for array in arrays.values():
        if len(array) != len(y):
            raise broken(folder, "a split", f"{len(array)} inputs but {len(y)} classes")
    if (folder / _NAMED).is_dir():
        return Split(np.zeros((len(y), 0)), y, arrays)
    return Split(arrays[INPUT], y)


def load_calibration(folder: Path, samples: int) -> Samples:
    """The first `samples` calibration inputs; of a small data set, all that there are.

    Raises:
        DataError: there are none.
    """
    split = load_split(folder)
    if not len(split):
        raise DataError(
            f"quant.calibration.samples is {samples} but the calibration split has 0; "
            "raise data.splits.calibration or bring more data"
        )
    return split.samples(slice(samples))


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
    if wrong or not len(kept["mean"]) == len(kept["std"]) == (kept["input_shape"] or [0])[0]:
        raise broken(path, "a data description", f"{', '.join(wrong) or 'mean or std'} of another form")
    frozen: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in kept.items()}
    frozen["inputs"] = {
        name: InputDescription(tuple(one["shape"]), one["dtype"], tuple(one["limits"]))
        for name, one in kept["inputs"].items()
    }
    return Description(**frozen)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def _is_list(value: object, holds: Callable[[object], bool], length: int | None = None) -> bool:
    return isinstance(value, list) and all(map(holds, value)) and length in (None, len(value))


def _is_input(value: object) -> bool:
    return (
        isinstance(value, dict)
        and _is_list(value.get("shape"), _is_count)
        and _is_text(value.get("dtype"))
        and _is_list(value.get("limits"), _is_number, 2)
    )


_FORM: dict[str, Callable[[Any], bool]] = {
    "name": _is_text,
    "input_shape": lambda value: value == [] or (_is_list(value, _is_count, 3) and min(value) > 0),
    "class_names": lambda value: _is_list(value, _is_text),
    "value_range": lambda value: _is_list(value, _is_number, 2),
    "mean": lambda value: _is_list(value, _is_number),
    "std": lambda value: _is_list(value, _is_number),
    "samples": lambda value: isinstance(value, dict) and all(map(_is_count, value.values())),
    "source": _is_text,
    "licence": _is_text,
    "inputs": lambda value: isinstance(value, dict) and all(map(_is_input, value.values())),
}
"""What each part of a description is as JSON."""


def _load(path: Path) -> Array:
    try:
        return map_array(path)
    except FileNotFoundError:
        raise ArtifactError(f"cannot read {path}: no such file; make it with: dvc repro") from None
    except ValueError as error:
        raise broken(path, "a numpy array", error) from error
