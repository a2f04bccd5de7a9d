"""What small data makes of parameters, and what it is too small for."""

from typing import Any

import pytest
import yaml

from edgepress.config.load import PARAMS
from edgepress.datasets.fit import fit
from edgepress.datasets.prepared import Description
from edgepress.errors import ConfigError, DataError


def described(shape: tuple[int, ...] = (1, 32, 32), train: int = 950, calibration: int = 128) -> Description:
    return Description(
        name="drawn",
        input_shape=shape,
        class_names=("a", "b"),
        value_range=(0, 1),
        mean=(0.5,),
        std=(0.5,),
        samples={"train": train, "validation": 9, "test": 9, "calibration": calibration},
        source="drawn",
        licence="none",
    )


def changed(key: str = "seed", value: object = 0) -> dict[str, Any]:
    """The default parameters with another value."""
    values: dict[str, Any] = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    section = values
    for name in key.split(".")[:-1]:
        section = section[name]
    section[key.split(".")[-1]] = value
    return values


def test_data_that_suffices_needs_no_remark() -> None:
    assert fit(changed(), described()) == ()


def test_small_data_just_works() -> None:
    remarks = fit(changed(), described((1, 8, 8), train=20, calibration=5))
    assert [remark.partition(" is ")[0] for remark in remarks] == [
        "train.batch_size",
        "prune.fine_tune.batch_size",
        "cluster.fine_tune.batch_size",
        "quant.calibration.samples",
    ]
    assert fit(changed(), described((40, 1, 1))) == ()


@pytest.mark.parametrize("section", ["train", "prune.fine_tune", "cluster.fine_tune"])
def test_batches_larger_than_the_training_split_are_refused(section: str) -> None:
    fit(changed(f"{section}.batch_size", 950), described())
    with pytest.raises(ConfigError) as error:
        fit(changed(f"{section}.batch_size", 951), described())
    told = f"{section}.batch_size is 951, but the training split has 950 samples; expected at most as many."
    assert str(error.value).startswith(told)


@pytest.mark.parametrize(("shape", "most"), [((1, 16, 12), 16), ((3, 1, 1), 2)])
def test_images_are_not_moved_by_more_than_their_size(shape: tuple[int, ...], most: int) -> None:
    fit(changed("train.augment.shift", most), described(shape))
    with pytest.raises(ConfigError) as error:
        fit(changed("train.augment.shift", 1000), described(shape))
    size = f"{shape[1]}×{shape[2]}"
    told = f"train.augment.shift is 1000, but the images are {size}; expected at most {most} pixels."
    assert str(error.value).startswith(told)


def test_nothing_to_learn_from_or_to_calibrate_with_is_refused() -> None:
    with pytest.raises(DataError, match=r"the training split is empty, but train learns from it"):
        fit(changed(), described(train=0))
    with pytest.raises(DataError, match=r"but the calibration split is empty; expected one sample"):
        fit(changed(), described(calibration=0))
