"""Inputs for calibration and comparison: from files that the user names, or drawn for a comparison alone."""

from pathlib import Path

import numpy as np

from edgepress.datasets.array_files import array_files, open_array
from edgepress.datasets.prepared import Array
from edgepress.errors import DataError


def load_inputs(path: Path, shape: tuple[int, ...], most: int, layout: str = "") -> Array:
    """The first inputs of a file or folder, float32 (n, *shape), at most `most`.

    A `.npz` holds them as `x`, as `inputs`, or as its only array; the files of a folder hold one input, or
    several, each and are read in the order of their names.

    Args:
        path: where they lie.
        shape: of one input, as the ONNX model takes it, e.g. (C, H, W).
        most: how many are wanted.
        layout: its axes in words, where they are known, for errors.

    Raises:
        DataError: a file is absent, damaged or empty, or its inputs do not fit the model or are not finite.
    """
    found: list[Array] = []
    for file in array_files(path):
        array = open_array(file)
        batch = array[None] if path.is_dir() and array.shape == shape else array
        found.append(_checked(batch[: most - sum(map(len, found))], shape, file, layout))
        if sum(map(len, found)) >= most:
            break
    return np.concatenate(found)


def draw_inputs(shape: tuple[int, ...], count: int) -> Array:
    """Uniform random inputs in [0, 1), for comparing two runtimes; nothing is ever calibrated with them."""
    return np.random.default_rng(0).random((count, *shape), dtype=np.float32)


def _checked(inputs: Array, shape: tuple[int, ...], path: Path, layout: str) -> Array:
    if inputs.dtype.kind not in "fiub" or inputs.shape[1:] != shape or not len(inputs):
        wanted = ", ".join(map(str, ("n", *shape)))
        raise DataError(
            f"{path} holds {inputs.dtype.name} of shape {inputs.shape}; expected numbers ({wanted})"
            f"{layout and ', '}{layout}"
        )
    values: Array = np.asarray(inputs, np.float32)
    if not np.isfinite(values).all():
        raise DataError(
            f"{path} holds NaN or infinity; expected finite numbers, as the application feeds them"
        )
    return values
