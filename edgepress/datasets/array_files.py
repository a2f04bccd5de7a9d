"""Inputs in files of numpy's: a .npz, a .npy, or a folder of .npy files."""

from pathlib import Path

import numpy as np

from edgepress.datasets.numpy_files import MAX_BYTES, map_array, read_array
from edgepress.datasets.prepared import Array
from edgepress.datasets.zips import Zip
from edgepress.errors import DataError
from edgepress.files import SPARE_BYTES
from edgepress.text import listed, shown

FORM = "expected a .npz, a .npy or a folder of .npy files"

_NAMES = ("x", "inputs")
_SUFFIX = ".npy"


def array_files(path: Path) -> list[Path]:
    """The file itself, or the .npy files of a folder in the order of their names.

    Raises:
        DataError: there is none.
    """
    if path.is_dir():
        files = sorted(path.glob("*.npy"))
        if not files:
            raise DataError(f"{path} holds no .npy file; {FORM}")
        return files
    if path.suffix not in (".npz", ".npy"):
        raise DataError(f"inputs are {shown(path)!r}; {FORM}")
    if not path.exists():
        raise DataError(f"inputs {path} are not there; {FORM}")
    return [path]


def open_array(path: Path, otherwise: str = "") -> Array:
    """The array of a file; of a .npz the one named `x` or `inputs`, or else the only one.

    `otherwise` is what to do where several are meant.

    Raises:
        DataError: the file is damaged, or which array is meant is not clear.
    """
    try:
        if path.suffix == _SUFFIX:
            return np.atleast_1d(map_array(path, DataError))
        with Zip(path) as archive:
            names = array_names(archive)
            chosen = [name for name in _NAMES if name in names] or names
            if not chosen or (chosen[0] not in _NAMES and len(chosen) != 1):
                raise DataError(
                    f"{path} holds the arrays: {listed(names) or 'none'}; expected one named x{otherwise}"
                )
            return np.atleast_1d(read_arrays(archive, chosen[:1])[chosen[0]])
    except ValueError as error:
        raise DataError(
            f"{path} is corrupt or not a numpy file of numbers ({shown(error)}); write it again"
        ) from error


def array_names(archive: Zip) -> list[str]:
    """The names of the arrays in a .npz.

    Raises:
        ValueError: two have the same.
    """
    names = [name.removesuffix(_SUFFIX) for name in archive.names()]
    if len(set(names)) < len(names):
        raise ValueError("two arrays have the same name")
    return names


def read_arrays(archive: Zip, names: list[str]) -> dict[str, Array]:
    """Some arrays of a .npz, in memory: together no more than the file is in proportion to.

    Raises:
        ValueError: one is damaged, no plain array, or far larger than the file.
    """
    room, arrays = SPARE_BYTES + 2 * archive.size, dict[str, Array]()
    for name in names:
        own = name if name in archive.names() else f"{name}{_SUFFIX}"
        with archive.open(own, MAX_BYTES) as (file, size):
            if size > room:
                raise ValueError(
                    f"its arrays unpack to more than {SPARE_BYTES + 2 * archive.size:,} bytes, from "
                    f"{archive.size:,}; if that is right, write it uncompressed, with numpy.savez"
                )
            room -= size
            arrays[name] = read_array(file, size)
    return arrays
