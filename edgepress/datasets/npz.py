"""Arrays in a .npz file: inputs `x`, classes `y` and, where those are numbers, perhaps `class_names`."""

from pathlib import Path

import numpy as np

from edgepress.config.data import Layout, Npz
from edgepress.datasets.array_files import array_names, read_arrays
from edgepress.datasets.class_names import require_class_names
from edgepress.datasets.dataset import Dataset
from edgepress.datasets.named import as_inputs, open_named
from edgepress.datasets.numpy_files import Array, is_npy
from edgepress.datasets.rows import Converted, extent
from edgepress.datasets.zips import Zip
from edgepress.errors import DataError
from edgepress.text import listed, shown

KEPT = ("uint8", "int8", "uint16", "int16", "float16", "float32")
"""Types that are stored as they are; other numbers become float32, which is what networks get in any case."""

_OF_CLASSES = ("y", "class_names")

_TO_NCHW = {"nchw": (0, 1, 2, 3), "nhwc": (0, 3, 1, 2), "nhw": (0, 3, 1, 2), "nf": (0, 1, 2, 3)}
_AXES = {"nchw": 4, "nhwc": 4, "nhw": 3, "nf": 2}


def load(config: Npz) -> Dataset:
    """The arrays of a file, `x` held once and viewed as (N, C, H, W), or else named inputs.

    Raises:
        DataError: the file, an array, its shape, its type or its values are not what they should be.
    """
    if config.layout == "named":
        return _named(config)
    arrays = _read(Path(config.path))
    x = as_images(arrays["x"], config.layout, config.path)
    y, class_names = _classes(arrays, len(x.array), config.path)
    return Dataset(
        x=x,
        y=y,
        class_names=class_names,
        value_range=value_range(x, config.path),
        source=config.source,
        licence=config.licence,
    )


def _named(config: Npz) -> Dataset:
    _require_file(Path(config.path), "the network's inputs and y")
    arrays = open_named(Path(config.path))
    inputs = {name: array for name, array in arrays.items() if name not in _OF_CLASSES}
    if not inputs or "y" not in arrays:
        raise DataError(
            f"{config.path} holds the arrays: {listed(list(arrays))}; expected one for each input of the "
            "network by its name, and the classes y. Without classes: -S data=inputs"
        )
    named = as_inputs(inputs, config.path)
    y, class_names = _classes(arrays, len(next(iter(inputs.values()))), config.path)
    return Dataset(None, y, class_names, (0.0, 0.0), config.source, config.licence, named=named)


def _require_file(path: Path, holding: str) -> None:
    if not path.exists():
        raise DataError(f"data.path is {str(path)!r}, which is no file; expected a .npz file with {holding}")


def _read(path: Path) -> dict[str, Array]:
    _require_file(path, "x and y")
    try:
        with Zip(path) as archive:
            names = array_names(archive)
            _require_keys(names, path)
            return read_arrays(archive, [name for name in ("x", "y", "class_names") if name in names])
    except ValueError as error:
        reason = "a single array; save it with np.savez(path, x=..., y=...)" if is_npy(path) else shown(error)
        raise DataError(
            f"data.path is {str(path)!r}, which is no .npz file of plain arrays: {reason}"
        ) from error


def _require_keys(names: list[str], path: Path) -> None:
    absent = [name for name in ("x", "y") if name not in names]
    if absent:
        raise DataError(
            f"{path} has no array {' and no '.join(absent)}, but: {listed(names) or 'nothing'}; where these "
            "are the network's inputs by name: -S data.layout=named"
        )


def as_images(x: Array, layout: Layout, path: str) -> Converted:
    """A view (N, C, H, W) of the inputs of a file.

    Raises:
        DataError: they are no numbers, none at all, or of another rank than the layout.
    """
    if x.dtype.kind not in "buif":
        raise DataError(f"x in {path} is of type {x.dtype}; expected integers or floating-point numbers")
    if x.ndim != _AXES[layout]:
        fitting = [name for name, axes in _AXES.items() if axes == x.ndim]
        remedy = f"data.layout={' or '.join(fitting)} has as many" if fitting else "reshape it"
        raise DataError(
            f"x in {path} has shape {x.shape}, but data.layout is {layout!r}, {_AXES[layout]} axes; {remedy}"
        )
    if x.size == 0:
        raise DataError(f"x in {path} has shape {x.shape}, which holds nothing")
    image = x.reshape(*x.shape, *[1] * (4 - x.ndim)).transpose(_TO_NCHW[layout])
    kept = np.dtype(x.dtype.name if x.dtype.name in KEPT else "uint8" if x.dtype.kind == "b" else "float32")
    return Converted(image, kept)


def _classes(arrays: dict[str, Array], samples: int, path: str) -> tuple[Array, tuple[str, ...]]:
    """Classes (N,) int64 counted from 0, and their names."""
    y, names = arrays["y"], arrays.get("class_names")
    if y.shape != (samples,):
        raise DataError(
            f"y in {path} has shape {y.shape}, but x has {samples} samples; expected ({samples},)"
        )
    if y.dtype.kind == "U":
        unique, y = np.unique(y, return_inverse=True)
        return y.astype(np.int64), _at_least_two([str(name) for name in unique], path)
    if y.dtype.kind not in "ui":
        raise DataError(f"y in {path} is of type {y.dtype}; expected integers from 0, or names of classes")
    if y.min() < 0:
        raise DataError(f"y in {path} holds {y.min()}; expected classes that count from 0")
    present = np.unique(y)
    if names is None and present[-1] >= len(present):
        raise DataError(
            f"y in {path} goes up to {present[-1]} but holds only {len(present)} classes; "
            "expected each from 0 on"
        )
    if names is not None and (names.dtype.kind != "U" or names.ndim != 1 or len(names) <= present[-1]):
        raise DataError(
            f"class_names in {path} is {names.dtype} of shape {names.shape}; expected a text for each class, "
            f"of which y has {present[-1] + 1}"
        )
    texts = range(len(present)) if names is None else names
    return y.astype(np.int64), _at_least_two([str(name) for name in texts], path)


def _at_least_two(names: list[str], path: str) -> tuple[str, ...]:
    if len(names) < 2:
        raise DataError(f"y in {path} holds one class, {shown(names[0])}; expected two or more")
    if len(set(names)) < len(names):
        raise DataError(f"class_names in {path} holds a name twice; expected another for each class")
    require_class_names(names, path)
    return tuple(names)


def value_range(x: Converted, path: str) -> tuple[float, float]:
    """0 to 255 for bytes, else the least and largest value.

    Raises:
        DataError: one is not finite.
    """
    return (0.0, 255.0) if x.dtype == np.uint8 else extent(x, "x", path)
