"""Whether the parameters of later stages fit the data that was prepared, asked before they start."""

from collections.abc import Iterator, Mapping
from typing import Any

from edgepress.config import validation
from edgepress.config.load import load_section
from edgepress.config.train import Augment
from edgepress.datasets.prepared import Description
from edgepress.errors import ConfigError, DataError

SMALL_BATCH = 32
"""A batch of so many samples, the default, may be larger than a small split, which is then one batch."""

SMALL_SHIFT = 2
"""Pixels by which images of any size may be moved: the default."""


def fit(values: Mapping[str, Any], data: Description) -> tuple[str, ...]:
    """What small data makes of valid parameters, for the user.

    Raises:
        ConfigError: a batch is larger than the training split, but for small ones; or images are moved by
            more than their size.
        DataError: there is nothing to learn from or to calibrate with.
    """
    _refuse_far_shift(values, data)
    return (*_batches(values, data), *_calibration(values, data))


def _refuse_far_shift(values: Mapping[str, Any], data: Description) -> None:
    """Vectors, images of one pixel, may keep the default; a network's own inputs are never moved."""
    if data.named:
        return
    shift, (height, width) = load_section("train.augment", Augment, values).shift, data.input_shape[1:]
    most = max(height, width, SMALL_SHIFT)
    if shift > most and any(validation.batch_sizes(values)):
        raise ConfigError(
            f"train.augment.shift is {shift}, but the images are {height}×{width}; expected at most {most} "
            "pixels. Set it in conf/train/ or with -S."
        )


def _batches(values: Mapping[str, Any], data: Description) -> Iterator[str]:
    there = data.samples["train"]
    for key, size in validation.batch_sizes(values):
        if not there:
            raise DataError(
                f"the training split is empty, but {key.removesuffix('.batch_size')} learns from it; lower "
                "data.splits.test, data.splits.validation or data.splits.calibration, or bring more data"
            )
        if size > max(there, SMALL_BATCH):
            raise ConfigError(
                f"{key} is {size}, but the training split has {there} samples; expected at most as many. "
                f"Set it in conf/{key.split('.')[0]}/ or with -S."
            )
        if size > there:
            yield f"{key} is {size}, but the training split has {there} samples, which are one batch"


def _calibration(values: Mapping[str, Any], data: Description) -> Iterator[str]:
    config, there = validation.calibration(values), data.samples["calibration"]
    if config is None:
        return
    if not there:
        raise DataError(
            f"quant.calibration.samples is {config.samples}, but the calibration split is empty; expected "
            "one sample at least. Bring more data, or choose quant=dynamic, quant=fp16 or quant=none"
        )
    if config.samples > there:
        yield (
            f"quant.calibration.samples is {config.samples}, but the calibration split has {there} samples, "
            "all of which are used"
        )
