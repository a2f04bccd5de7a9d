"""Inputs without classes: enough to calibrate a trained network and to compare it with itself."""

from pathlib import Path

import numpy as np

from edgepress.config.data import Inputs
from edgepress.datasets.array_files import array_files, open_array
from edgepress.datasets.dataset import Dataset, unknown_classes
from edgepress.datasets.named import as_inputs, open_named
from edgepress.datasets.npz import as_images, value_range
from edgepress.datasets.numpy_files import Array
from edgepress.errors import DataError


def load(config: Inputs) -> Dataset:
    """The inputs of a file or folder, viewed as (N, C, H, W), or as the network's own by their names.

    Raises:
        DataError: a file, its shape, its type or its values are not what they should be.
    """
    if config.layout == "named":
        named = as_inputs(open_named(Path(config.path)), config.path)
        classes = unknown_classes(next(iter(named.values())).shape[0])
        return Dataset(None, classes, (), (0.0, 0.0), config.source, config.licence, named=named)
    x = as_images(_joined(Path(config.path), len(config.layout)), config.layout, config.path)
    return Dataset(
        x=x,
        y=unknown_classes(len(x.array)),
        class_names=(),
        value_range=value_range(x, config.path),
        source=config.source,
        licence=config.licence,
    )


def _joined(path: Path, rank: int) -> Array:
    """The arrays of all files as one; in a folder, one with an axis less is a single input."""
    files = array_files(path)
    if len(files) == 1 and files[0] == path:
        return open_array(path, ", or where these are the network's inputs by name, -S data.layout=named")
    arrays = [open_array(file) for file in files]
    batches = [array[np.newaxis] if array.ndim == rank - 1 else array for array in arrays]
    first = batches[0]
    for file, batch in zip(files, batches, strict=True):
        if batch.shape[1:] != first.shape[1:] or batch.dtype != first.dtype:
            raise DataError(
                f"{file} holds {batch.dtype} of shape {batch.shape[1:]}, but {files[0]} {first.dtype} of "
                f"{first.shape[1:]}; expected the same in all files"
            )
    return np.concatenate(batches)
