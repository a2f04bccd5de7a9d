"""Fixed, stratified splits of a data set, written a little at a time, and their description."""

import functools
import math
import operator
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepress.config.data import Splits
from edgepress.datasets.dataset import Dataset
from edgepress.datasets.identical import Identical
from edgepress.datasets.prepared import (
    CLASSES,
    Array,
    Description,
    InputDescription,
    save_array,
    stored_name,
)
from edgepress.datasets.rows import Rows, extent
from edgepress.datasets.sharing_out import require_every_class, share_out
from edgepress.errors import DataError
from edgepress.text import listed, shown
from edgepress.writing import atomic_folder

PART_BYTES = 4 << 20
"""How much of a split is held in memory at a time."""


@dataclass(frozen=True)
class Moments:
    """Mean and variance per channel (C,) float64 of `count` samples."""

    count: int
    mean: Array
    variance: Array

    def __add__(self, other: "Moments") -> "Moments":
        """The moments of both together (Chan, Golub and LeVeque 1979)."""
        count = self.count + other.count
        ours, theirs = self.count / count, other.count / count
        apart = other.mean - self.mean
        mean = self.mean + theirs * apart
        return Moments(count, mean, ours * self.variance + theirs * other.variance + ours * theirs * apart**2)


def split(dataset: Dataset, config: Splits, seed: int, same: Identical | None = None) -> dict[str, Array]:
    """The indices of `train`, `validation`, `test` and `calibration`, each with the classes in proportion.

    The parts are disjoint and cover the whole, but for what `same` leaves out; those that the data set came
    with stay as they are, and the fractions are of the rest. Any prefix of a part is itself close to
    stratified. For one seed, a part does not change with the size of those taken after it: the order is test,
    validation, calibration, and training gets the rest. Samples that `same` says are equal are on one side:
    all of them in the test split, in validation, or in training and calibration. A small set still gives
    test, validation and training one sample of each class, and calibration at most a share of what test and
    validation leave: see `remarks`.

    Raises:
        DataError: a class has too few samples, or test and validation would leave nothing to train on.
    """
    labels = dataset.y if dataset.class_names else np.zeros_like(dataset.y)
    free = np.ones(len(labels), bool)
    for indices in dataset.given.values():
        free[indices] = False
    left_out = np.zeros(len(labels), bool)
    if same is not None:
        left_out[same.left_out] = True
    free &= ~left_out
    counts = np.bincount(labels[free], minlength=len(dataset.class_names))
    sizes = _sizes(counts, config, dataset.given, bool(dataset.class_names))
    _check(sizes, counts, dataset)
    rng = np.random.default_rng(seed)
    members = [rng.permutation(np.flatnonzero(free & (labels == label))) for label in range(len(counts))]
    parts = {}
    for name, chosen in share_out(
        members, sizes, same.groups if same is not None and same.any else None
    ).items():
        own = (
            [each[~left_out[each]] for each in _by_class(dataset, name)] if name in dataset.given else chosen
        )
        parts[name] = _interleaved(own)
    if same is not None and same.any:
        require_every_class(parts, dataset)
    return parts


def remarks(dataset: Dataset, parts: dict[str, Array], config: Splits) -> tuple[str, ...]:
    """What a small data set made of the configured splits, for the user."""
    said = []
    total = sum(len(indices) for name, indices in parts.items() if name not in dataset.given)
    for name, share in (("test", config.test), ("validation", config.validation)):
        if name not in dataset.given and len(parts[name]) > round(total * share):
            said.append(
                f"data.splits.{name} is {share:g}, {round(total * share)} of {total} samples; with one at "
                f"least of each class, and equal samples together, {name} gets {len(parts[name])}"
            )
    if len(parts["calibration"]) < config.calibration:
        left = len(parts["calibration"]) + len(parts["train"])
        said.append(
            f"data.splits.calibration is {config.calibration}, but test and validation leave {left} samples: "
            f"calibration gets {len(parts['calibration'])} and training {len(parts['train'])}"
        )
    return tuple(said)


def save(dataset: Dataset, parts: dict[str, Array], folder: Path) -> Moments | None:
    """Write each part to `folder/<part>`, a little at a time; the result is of the training split.

    Where that is empty, as it may be without classes, it is of all the others. Named inputs are never scaled,
    so of these there are no moments.
    """
    moments: list[Moments] = []
    observed = () if dataset.named else ("train",) if len(parts["train"]) else tuple(parts)
    for part, indices in parts.items():
        with atomic_folder(folder / part) as made:
            for name, rows in dataset.arrays.items():
                batches = _batches(rows, indices)
                batches = _observed(batches, moments) if part in observed else batches
                file = stored_name(name, bool(dataset.named))
                save_array(made / file, (len(indices), *rows.shape[1:]), rows.dtype, batches)
            save_array(made / CLASSES, indices.shape, dataset.y.dtype, [dataset.y[indices]])
    return functools.reduce(operator.add, moments) if moments else None


def describe(name: str, dataset: Dataset, parts: dict[str, Array], train: Moments | None) -> Description:
    """What later stages must know; mean and standard deviation are those of the training split."""
    return Description(
        name=name,
        input_shape=() if dataset.x is None else dataset.x.shape[1:],
        class_names=dataset.class_names,
        value_range=dataset.value_range,
        mean=() if train is None else tuple(float(v) for v in train.mean),
        # A constant channel cannot be scaled.
        std=() if train is None else tuple(float(v) or 1.0 for v in np.sqrt(train.variance)),
        samples={name: len(part) for name, part in parts.items()},
        source=dataset.source,
        licence=dataset.licence,
        inputs={own: _described(own, rows, dataset) for own, rows in dataset.arrays.items()},
    )


def _described(name: str, rows: Rows, dataset: Dataset) -> InputDescription:
    limits = extent(rows, name, dataset.source) if dataset.named else dataset.value_range
    return InputDescription(rows.shape[1:], rows.dtype.name, limits)


def _batches(x: Rows, indices: Array) -> Iterator[Array]:
    step = max(1, PART_BYTES // (math.prod(x.shape[1:]) * x.dtype.itemsize))
    for start in range(0, len(indices), step):
        yield np.ascontiguousarray(x[indices[start : start + step]])


def _observed(batches: Iterator[Array], moments: list[Moments]) -> Iterator[Array]:
    """The same batches, with the moments of each noted on the way."""
    for batch in batches:
        mean = batch.mean(axis=(0, 2, 3), dtype=np.float64)
        moments.append(Moments(len(batch), mean, batch.var(axis=(0, 2, 3), dtype=np.float64)))
        yield batch


def _by_class(dataset: Dataset, name: str) -> list[Array]:
    indices = dataset.given[name]
    return [indices[dataset.y[indices] == label] for label in range(len(dataset.class_names))]


def _sizes(counts: Array, config: Splits, given: Collection[str], classes: bool) -> dict[str, Array]:
    """Samples of each class (classes,) to take for each part; those of `train` may be negative."""
    total = int(counts.sum())
    test, validation = (
        np.zeros_like(counts)
        if name in given
        else np.maximum(_apportion(counts, round(total * share)), counts > 0)  # measured on every class
        for name, share in (("test", config.test), ("validation", config.validation))
    )
    rest = np.maximum(counts - test - validation, 0)
    calibration = _calibration(rest, config.calibration, classes)
    train = counts - test - validation - calibration
    return {"test": test, "validation": validation, "calibration": calibration, "train": train}


def _calibration(rest: Array, wanted: int, classes: bool) -> Array:
    """Samples of each class (classes,) for calibration; where there are classes, each stays in training, too.

    At most a quarter of the rest. Without classes, where training may be empty, what is wanted, or half of
    the rest where that is more than there is.
    """
    total = int(rest.sum())
    if not classes:
        return _apportion(rest, wanted if wanted <= total else -(-total // 2))
    size = min(wanted, -(-total // 4))
    sizes = _apportion(rest, size)
    if (sizes < rest).all():
        return sizes
    spare = np.maximum(rest - 1, 0)
    return _apportion(spare, min(size, int(spare.sum())))


def _apportion(weights: Array, total: int) -> Array:
    """Integers in proportion to `weights` that add up to `total` (largest remainders, ties to the first)."""
    shares = weights * (total / max(int(weights.sum()), 1))
    floors = np.floor(shares).astype(np.int64)
    missing = total - int(floors.sum())
    largest = np.argsort(floors - shares, kind="stable")[:missing]
    floors[largest] += 1
    return np.asarray(floors)


def _check(sizes: dict[str, Array], counts: Array, dataset: Dataset) -> None:
    names = [f"class {shown(name)}" for name in dataset.class_names] or ["the data"]
    measured = [name for name in ("test", "validation") if name not in dataset.given]
    needed = len(measured) + bool(dataset.class_names)
    few = np.flatnonzero(counts < needed)
    if len(few):
        held = listed([f"{names[label]} has {counts[label]} samples" for label in few])
        parts = ", ".join([*measured, *["training"] * bool(dataset.class_names)])
        raise DataError(
            f"{held}; expected at least {needed}, one for each of {parts}. Bring more, or leave it out"
        )
    if dataset.class_names and (sizes["train"] < 1).any():
        label = int(sizes["train"].argmin())
        raise DataError(
            f"{names[label]} has {counts[label]} samples, of which train gets none; expected at least one. "
            "Lower data.splits.test or data.splits.validation, or bring more"
        )


def _interleaved(chosen: list[Array]) -> Array:
    """The indices of all classes, spread so that every prefix holds the classes nearly in proportion."""
    positions = [(np.arange(len(indices)) + 0.5) / max(len(indices), 1) for indices in chosen]
    order = np.argsort(np.concatenate(positions), kind="stable")
    return np.asarray(np.concatenate(chosen)[order])
