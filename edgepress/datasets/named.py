"""Arrays that are a network's inputs by their names, each in a type and of a shape of its own.

What a network takes besides images: token ids, masks, states, several images. Nothing is scaled, moved or
resized; the first axis of each array counts the samples.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgepress.datasets.array_files import array_files, array_names, open_array, read_arrays
from edgepress.datasets.numpy_files import Array
from edgepress.datasets.rows import Converted, Rows, extent
from edgepress.datasets.zips import Zip
from edgepress.errors import DataError
from edgepress.text import listed, shown

KEPT = (
    "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32",
)  # fmt: skip
"""Types that are stored as they are; floats of more bits become float32."""

_MOST_AXES = 6
_LONGEST_NAME = 200


def open_named(path: Path) -> dict[str, Array]:
    """The arrays of a .npz, or of a folder of .npy files, by name; of one .npy that one by the file's.

    Raises:
        DataError: the file is absent or damaged, or holds no arrays.
    """
    files = array_files(path)
    if path.suffix != ".npz" or path.is_dir():
        return {file.stem: open_array(file) for file in files}
    try:
        with Zip(path, of_files=False) as archive:
            found = read_arrays(archive, array_names(archive))
    except ValueError as error:
        raise DataError(
            f"{path} is corrupt or not a numpy file of numbers ({shown(error)}); write it again"
        ) from error
    if not found:
        raise DataError(f"{path} holds no array; expected one for each input of the network, by its name")
    return found


def as_inputs(arrays: Mapping[str, Array], path: str) -> dict[str, Rows]:
    """Arrays (N, ...) of one N as a network's inputs.

    Raises:
        DataError: one is no numbers, empty, of another number of samples, or not finite.
    """
    inputs: dict[str, Rows] = {}
    for name, array in arrays.items():
        _check(name, array, path)
        inputs[name] = array if array.dtype.name in KEPT else Converted(array, np.dtype(np.float32))
        extent(inputs[name], shown(name), path)  # refuses what is not finite
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{shown(name, 80)} has {count}" for name, count in list(counts.items())[:10])
        raise DataError(
            f"the arrays in {path} are of different numbers of samples: {told}; expected the same, since the "
            "first axis of each counts the samples"
        )
    return inputs


def _check(name: str, array: Array, path: str) -> None:
    what = f"{shown(name, 80)} in {path}"
    if array.dtype.kind not in "buif":
        raise DataError(
            f"{what} is of type {array.dtype}; expected numbers or truth values. Leave out what is no input"
        )
    if not 1 <= array.ndim <= 1 + _MOST_AXES or not array.size:
        raise DataError(
            f"{what} has shape {array.shape}; expected samples (N, ...) of at most {_MOST_AXES} axes each, "
            "none of them empty"
        )
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise DataError(
            f"{listed([name])!r} in {path} is no name; expected that of an input of the network, of at most "
            f"{_LONGEST_NAME} printable characters"
        )
