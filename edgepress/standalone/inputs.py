"""Inputs for calibration and comparison: from files that the user names, or drawn for a comparison alone."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from edgepress.datasets.array_files import array_files, open_array
from edgepress.datasets.named import open_named
from edgepress.datasets.prepared import Array
from edgepress.datasets.samples import Entry, Samples
from edgepress.errors import ConfigError, DataError
from edgepress.graph.index_limits import index_limits
from edgepress.measure.entries import declared_entries
from edgepress.text import listed, shown

_OPEN = 8
"""The size that is drawn where a model leaves one open."""

_STATE = 0.1
"""The standard deviation of states that are drawn: those of a network that has hardly begun are small."""

_MOSTLY = 0.75
"""How often a truth value is drawn as true; a mask that hides all would leave nothing to compute with."""

_SMALL = 10
"""What is drawn of integers that choose from no table lies below."""


def load_inputs(path: Path, entries: Sequence[Entry], most: int, layout: str = "") -> Samples:
    """The first inputs of a file or folder, at most `most` samples, as the ONNX model takes them.

    Of a network with one input a `.npz` holds them under its name, as `x`, as `inputs`, or as its only array;
    the files of a folder hold one input, or several, each and are read in the order of their names. Of others
    a `.npz` has an array for each by its name, and a folder a file. Arrays that all have the shapes of the
    network's inputs themselves are one sample.

    Args:
        path: where they lie.
        entries: the inputs as the model declares them.
        most: how many are wanted.
        layout: the axes of an only input in words, where they are known, for errors.

    Raises:
        DataError: a file is absent, damaged or empty, or its inputs do not fit the model or are not finite.
    """
    if len(entries) == 1 and (path.suffix != ".npz" or path.is_dir()):
        return Samples({entries[0].name: _from_files(path, entries[0], most, layout)})
    arrays = open_named(path) if path.is_dir() or path.suffix == ".npz" else {}
    if len(entries) == 1:
        arrays = {entries[0].name: arrays[entries[0].name] if entries[0].name in arrays else open_array(path)}
    if absent := [entry.name for entry in entries if entry.name not in arrays]:
        raise DataError(
            f"{path} holds the arrays: {listed(list(arrays)) or 'none with a name'}; expected a .npz, or a "
            f"folder of .npy files, with one for each input by its name: {', '.join(map(shown, absent))} "
            f"{'is' if len(absent) == 1 else 'are'} not there"
        )
    if _is_one_sample({entry.name: arrays[entry.name] for entry in entries}, entries):
        arrays = {name: array[np.newaxis] for name, array in arrays.items()}
    found = {entry.name: _checked(arrays[entry.name][:most], entry, path, layout) for entry in entries}
    counts = {name: len(arrays[name]) for name in found}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{shown(name, 80)} has {count}" for name, count in counts.items())
        raise DataError(
            f"the arrays in {path} are of different numbers of samples: {told}; expected the same"
        )
    return Samples(found)


def _from_files(path: Path, entry: Entry, most: int, layout: str) -> Array:
    found: list[Array] = []
    for file in array_files(path):
        array = open_array(file)
        single = path.is_dir() and array.ndim == len(entry.dims) - 1
        batch = array[None] if single else array
        found.append(_checked(batch[: most - sum(map(len, found))], entry, file, layout))
        if sum(map(len, found)) >= most:
            break
    return np.concatenate(found)


def _is_one_sample(arrays: Mapping[str, Array], entries: Sequence[Entry]) -> bool:
    """Whether each array has the shape of its input, and their first sizes count no samples."""
    alike = all(
        array.ndim == len(entry.dims) and _fits(array.shape, entry.dims)
        for entry in entries
        for array in [arrays[entry.name]]
    )
    return alike and len({array.shape[:1] for array in arrays.values()}) > 1


def _fits(shape: Sequence[int], dims: Sequence[int | None]) -> bool:
    pairs = zip(shape, dims, strict=False)
    return len(shape) == len(dims) and all(size in (None, own) for own, size in pairs)


def _checked(inputs: Array, entry: Entry, path: Path, layout: str) -> Array:
    """The samples of an input in its type, each with all of its axes or without the first."""
    integer = np.dtype(entry.dtype).kind != "f"
    kinds = "iub" if integer else "fiub"
    fits = _fits(inputs.shape[1:], entry.dims[1:]) if inputs.ndim == len(entry.dims) else (
        _fits(inputs.shape[1:], entry.dims)
    )  # fmt: skip
    if inputs.dtype.kind not in kinds or not inputs.ndim or not fits or not len(inputs):
        sizes = ["n", *("?" if size is None else str(size) for size in entry.dims[1:])]
        raise DataError(
            f"{path} holds {inputs.dtype.name} of shape {inputs.shape}; expected "
            f"{'integers' if integer else 'numbers'} ({', '.join(sizes)})"
            f"{layout and ', '}{layout}{_named(entry, path)}"
        )
    values: Array = np.asarray(inputs, np.float32 if not integer else entry.dtype)
    if integer and not (values == inputs).all():
        raise DataError(
            f"{path} holds integers beyond {entry.dtype}{_named(entry, path)}; expected that type"
        )
    if not np.isfinite(values).all():
        raise DataError(
            f"{path} holds NaN or infinity; expected finite numbers, as the application feeds them"
        )
    return values


def _named(entry: Entry, path: Path) -> str:
    return f" for {shown(entry.name, 80)!r}" if path.suffix == ".npz" or path.is_dir() else ""


def draw_inputs(model: onnx.ModelProto, count: int) -> tuple[Samples, str]:
    """Random inputs of a model, for comparing two runtimes, and how they are drawn, in words.

    Nothing is ever calibrated with them. Floats are uniform in [0, 1) or, of states, which have the shape of
    an output, normal and small; integers that choose rows of a table are drawn from these rows, other bytes
    from all, other integers below 10, or 0 and 1 of a mask; truth values are mostly true.
    """
    entries, limits, random = declared_entries(model), index_limits(model), np.random.default_rng(0)
    batched = all(entry.dims[:1] in ((None,), (1,)) for entry in entries)
    arrays = {}
    for entry in entries:
        sizes = entry.dims[1:] if batched else entry.dims
        shape = (count, *(_OPEN if size is None else size for size in sizes))
        arrays[entry.name] = _drawn(entry, shape, limits.get(entry.name), _is_state(entry, model), random)
    plain = len(entries) == 1 and np.dtype(entries[0].dtype).kind == "f"
    return Samples(arrays), "drawn uniformly from [0, 1)" if plain else "drawn at random, each by its type"


def _is_state(entry: Entry, model: onnx.ModelProto) -> bool:
    """Whether one of several inputs has the shape of an output, which the next inference may take."""
    shapes = [
        [dim.dim_value or None for dim in output.type.tensor_type.shape.dim] for output in model.graph.output
    ]
    return len(model.graph.input) > 1 and len(shapes) > 1 and list(entry.dims) in shapes


def _drawn(
    entry: Entry, shape: tuple[int, ...], limit: int | None, state: bool, random: np.random.Generator
) -> Array:
    dtype = np.dtype(entry.dtype)
    if dtype.kind not in "fbiu":
        raise ConfigError(
            f"the input {entry.name!r} is {entry.dtype}, of which ONNX Runtime takes no arrays from Python, "
            "so that nothing can be compared; go without --check"
        )
    if dtype.kind == "f":
        values = random.normal(0, _STATE, shape) if state else random.random(shape, np.float32)
        return np.asarray(values, np.float32)
    if dtype.kind == "b":
        truth = random.random(shape) < _MOSTLY
        return np.asarray(truth | (np.arange(math.prod(shape)).reshape(shape) % (shape[-1] or 1) == 0))
    if limit is None and dtype.itemsize == 1:
        return random.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    most = limit or (2 if "mask" in entry.name.lower() else _SMALL)
    return random.integers(0, min(most, np.iinfo(dtype).max), shape).astype(dtype)
