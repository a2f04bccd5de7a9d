"""Whether the parameters of later stages fit the data that was prepared, asked before they start."""

from collections.abc import Iterator, Mapping
from typing import Any

from edgepress.config import validation
from edgepress.datasets.prepared import Description
from edgepress.errors import ConfigError, DataError

SMALL_BATCH = 32
"""A batch of so many samples, the default, may be larger than a small split, which is then one batch."""


def fit(values: Mapping[str, Any], data: Description) -> tuple[str, ...]:
    """What small data makes of valid parameters, for the user.

    Raises:
        ConfigError: a batch is larger than the training split, but for small ones.
        DataError: there is nothing to learn from or to calibrate with.
    """
    return (*_batches(values, data), *_calibration(values, data))


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
