"""Inputs for calibration and comparison: from files that the user names, or drawn for a comparison alone."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.datasets.prepared import Array
from edgepress.errors import DataError

_NAMES = ("x", "inputs")
_FORM = "expected a .npz, a .npy or a folder of .npy files"


def load_inputs(path: Path, shape: tuple[int, ...], most: int) -> Array:
    """The first inputs of a file or folder, float32 (n, *shape), at most `most`.

    A `.npz` holds them as `x`, as `inputs`, or as its only array; the files of a folder hold one input, or
    several, each and are read in the order of their names.

    Args:
        path: where they lie.
        shape: of one input, as the ONNX model takes it, e.g. (C, H, W).
        most: how many are wanted.

    Raises:
        DataError: a file is absent, damaged or empty, or its inputs do not fit the model or are not finite.
    """
    if path.is_dir():
        return _from_folder(path, shape, most)
    if path.suffix not in (".npz", ".npy"):
        raise DataError(f"calibration inputs are {str(path)!r}; {_FORM}")
    if not path.is_file():
        raise DataError(f"calibration inputs {path} are not there; {_FORM}")
    return _checked(_open(path)[:most], shape, path)


def draw_inputs(shape: tuple[int, ...], count: int) -> Array:
    """Uniform random inputs in [0, 1), for comparing two runtimes; nothing is ever calibrated with them."""
    return np.random.default_rng(0).random((count, *shape), dtype=np.float32)


def _from_folder(folder: Path, shape: tuple[int, ...], most: int) -> Array:
    found: list[Array] = []
    files = sorted(folder.glob("*.npy"))
    if not files:
        raise DataError(f"{folder} holds no .npy file; {_FORM}")
    for file in files:
        array = _open(file)
        batch = array[None] if array.shape == shape else array
        found.append(_checked(batch[: most - sum(map(len, found))], shape, file))
        if sum(map(len, found)) >= most:
            break
    return np.concatenate(found)


def _open(path: Path) -> Array:
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


def _checked(inputs: Array, shape: tuple[int, ...], path: Path) -> Array:
    if inputs.dtype.kind not in "fiub" or inputs.shape[1:] != shape or not len(inputs):
        layout = ", channels first" if len(shape) == 3 else ""
        wanted = ", ".join(map(str, ("n", *shape)))
        raise DataError(
            f"{path} holds {inputs.dtype.name} of shape {inputs.shape}; expected numbers ({wanted}){layout}"
        )
    values: Array = np.asarray(inputs, np.float32)
    if not np.isfinite(values).all():
        raise DataError(
            f"{path} holds NaN or infinity; expected finite numbers, as the application feeds them"
        )
    return values
