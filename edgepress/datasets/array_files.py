"""Inputs in files of numpy's: a .npz, a .npy, or a folder of .npy files."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.datasets.prepared import Array
from edgepress.errors import DataError

FORM = "expected a .npz, a .npy or a folder of .npy files"

_NAMES = ("x", "inputs")


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
        raise DataError(f"inputs are {str(path)!r}; {FORM}")
    if not path.is_file():
        raise DataError(f"inputs {path} are not there; {FORM}")
    return [path]


def open_array(path: Path) -> Array:
    """The array of a file; of a .npz the one named `x` or `inputs`, or else the only one.

    Raises:
        DataError: the file is damaged, or which array is meant is not clear.
    """
    try:
        content: Any = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
        if path.suffix == ".npy":
            return np.atleast_1d(content)
        with content:
            names = [name for name in _NAMES if name in content.files] or content.files
            if names[0] not in _NAMES and len(names) != 1:
                raise DataError(f"{path} holds the arrays {names}; expected one named x")
            return np.atleast_1d(content[names[0]])
    except (ValueError, OSError, EOFError, IndexError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        detail = " ".join(str(error).split())[:150]
        raise DataError(
            f"{path} is corrupt or not a numpy file of numbers ({detail}); write it again"
        ) from error
