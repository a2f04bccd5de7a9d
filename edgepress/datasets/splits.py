"""Fixed, stratified splits of a data set, written a little at a time, and their description."""

import functools
import math
import operator
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepress.config.data import Splits
from edgepress.datasets.dataset import Dataset, Rows
from edgepress.datasets.identical import Identical
from edgepress.datasets.prepared import Array, Description, save_array
from edgepress.datasets.sharing_out import require_every_class, share_out
from edgepress.errors import DataError

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
    all of them in the test split, in validation, or in training and calibration.

    Raises:
        DataError: a class has too few samples, or calibration would leave nothing to train on.
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
    sizes = _sizes(counts, config, dataset.given)
    _check(sizes, counts, dataset, config)
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


def save(dataset: Dataset, parts: dict[str, Array], folder: Path) -> Moments:
    """Write each part to `folder/<part>`, a little at a time; the result is of the training split.

    Where that is empty, as it may be without classes, it is of all the others.
    """
    moments: list[Moments] = []
    observed = ("train",) if len(parts["train"]) else tuple(parts)
    for name, indices in parts.items():
        batches = _batches(dataset.x, indices)
        if name in observed:
            batches = _observed(batches, moments)
        shape = (len(indices), *dataset.x.shape[1:])
        save_array(folder / name / "x.npy", shape, dataset.x.dtype, batches)
        save_array(folder / name / "y.npy", indices.shape, dataset.y.dtype, [dataset.y[indices]])
    return functools.reduce(operator.add, moments)


def describe(name: str, dataset: Dataset, parts: dict[str, Array], train: Moments) -> Description:
    """What later stages must know; mean and standard deviation are those of the training split."""
    return Description(
        name=name,
        input_shape=dataset.x.shape[1:],
        class_names=dataset.class_names,
        value_range=dataset.value_range,
        mean=tuple(float(v) for v in train.mean),
        std=tuple(float(v) or 1.0 for v in np.sqrt(train.variance)),  # a constant channel cannot be scaled
        samples={name: len(part) for name, part in parts.items()},
        source=dataset.source,
        licence=dataset.licence,
    )


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


def _sizes(counts: Array, config: Splits, given: Collection[str]) -> dict[str, Array]:
    """Samples of each class (classes,) to take for each part; those of `train` may be negative."""
    total = int(counts.sum())
    test = _apportion(counts, 0 if "test" in given else round(total * config.test))
    validation = _apportion(counts, 0 if "validation" in given else round(total * config.validation))
    rest = np.maximum(counts - test - validation, 0)
    calibration = _apportion(rest, config.calibration)
    train = counts - test - validation - calibration
    return {"test": test, "validation": validation, "calibration": calibration, "train": train}


def _apportion(weights: Array, total: int) -> Array:
    """Integers in proportion to `weights` that add up to `total` (largest remainders, ties to the first)."""
    shares = weights * (total / max(int(weights.sum()), 1))
    floors = np.floor(shares).astype(np.int64)
    missing = total - int(floors.sum())
    largest = np.argsort(floors - shares, kind="stable")[:missing]
    floors[largest] += 1
    return np.asarray(floors)


def _check(sizes: dict[str, Array], counts: Array, dataset: Dataset, config: Splits) -> None:
    names = [f"class {name}" for name in dataset.class_names] or ["the data"]
    left = sizes["train"] + sizes["calibration"]
    for part, size in (("test", sizes["test"]), ("validation", sizes["validation"]), ("train", left)):
        if part in dataset.given:
            continue
        label = int(size.argmin())
        if size[label] < 1:
            raise DataError(
                f"{names[label]} has {counts[label]} samples, of which {part} gets none; expected at "
                "least one. Bring more, or change data.splits.test and data.splits.validation"
            )
    if sizes["train"].min() < (1 if dataset.class_names else 0):
        training = " and training needs at least one of each class" if dataset.class_names else ""
        raise DataError(
            f"data.splits.calibration is {config.calibration}, but test and validation leave {left.sum()} "
            f"samples{training}. Lower it"
        )


def _interleaved(chosen: list[Array]) -> Array:
    """The indices of all classes, spread so that every prefix holds the classes nearly in proportion."""
    positions = [(np.arange(len(indices)) + 0.5) / max(len(indices), 1) for indices in chosen]
    order = np.argsort(np.concatenate(positions), kind="stable")
    return np.asarray(np.concatenate(chosen)[order])
