"""Fixed, stratified splits of a data set, and the description of the result."""

import numpy as np

from edgepress.config.data import Splits
from edgepress.datasets.dataset import Dataset
from edgepress.datasets.prepared import Array, Description, Split
from edgepress.errors import DataError


def split(dataset: Dataset, config: Splits, seed: int) -> dict[str, Split]:
    """Split into `train`, `validation`, `test` and `calibration`, each with the classes in proportion.

    The parts are disjoint and cover the whole. Any prefix of a part is itself close to
    stratified. For one seed, a part does not change with the size of those taken after it: the order is
    test, validation, calibration, and training gets the rest.

    Raises:
        DataError: a class has too few samples, or calibration would leave nothing to train on.
    """
    counts = np.bincount(dataset.y, minlength=len(dataset.class_names))
    sizes = _sizes(counts, config)
    _check(sizes, counts, dataset.class_names, config)
    rng = np.random.default_rng(seed)
    members = [rng.permutation(np.flatnonzero(dataset.y == label)) for label in range(len(counts))]
    parts = {}
    taken = np.zeros_like(counts)
    for name, size in sizes.items():
        chosen = [m[start : start + n] for m, start, n in zip(members, taken, size, strict=True)]
        parts[name] = _interleaved(chosen)
        taken = taken + size
    return {name: Split(dataset.x[indices], dataset.y[indices]) for name, indices in parts.items()}


def describe(name: str, dataset: Dataset, splits: dict[str, Split]) -> Description:
    """What later stages must know; mean and standard deviation are those of the training split."""
    x = splits["train"].x
    std = x.std(axis=(0, 2, 3), dtype=np.float64)
    return Description(
        name=name,
        input_shape=x.shape[1:],
        class_names=dataset.class_names,
        value_range=dataset.value_range,
        mean=tuple(float(v) for v in x.mean(axis=(0, 2, 3), dtype=np.float64)),
        std=tuple(float(v) or 1.0 for v in std),  # a constant channel cannot be scaled
        samples={name: len(part) for name, part in splits.items()},
        source=dataset.source,
        licence=dataset.licence,
    )


def _sizes(counts: Array, config: Splits) -> dict[str, Array]:
    """Samples of each class (classes,) in each part; those of `train` may be negative."""
    total = int(counts.sum())
    test = _apportion(counts, round(total * config.test))
    validation = _apportion(counts, round(total * config.validation))
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


def _check(sizes: dict[str, Array], counts: Array, names: tuple[str, ...], config: Splits) -> None:
    left = sizes["train"] + sizes["calibration"]
    for part, size in (("test", sizes["test"]), ("validation", sizes["validation"]), ("train", left)):
        label = int(size.argmin())
        if size[label] < 1:
            raise DataError(
                f"class {names[label]} has {counts[label]} samples, of which {part} gets none; expected at "
                "least one. Bring more, or change data.splits.test and data.splits.validation"
            )
    if sizes["train"].min() < 1:
        raise DataError(
            f"data.splits.calibration is {config.calibration}, but test and validation leave {left.sum()} "
            "samples and training needs at least one of each class. Lower it"
        )


def _interleaved(chosen: list[Array]) -> Array:
    """The indices of all classes, spread so that every prefix holds the classes nearly in proportion."""
    positions = [(np.arange(len(indices)) + 0.5) / max(len(indices), 1) for indices in chosen]
    order = np.argsort(np.concatenate(positions), kind="stable")
    return np.asarray(np.concatenate(chosen)[order])
