"""Data sets, their splits, and augmentation."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress.config.data import CHOICES, Digits, Splits
from edgepress.config.train import Augment
from edgepress.datasets.augment import augment
from edgepress.datasets.dataset import Dataset
from edgepress.datasets.digits import load, resize
from edgepress.datasets.prepared import Split, load_description, load_split, save_description, save_split
from edgepress.datasets.registry import LOADERS, dataset_name, load_dataset
from edgepress.datasets.splits import describe, split
from edgepress.errors import DataError

SPLITS = Splits(test=0.25, validation=0.15, calibration=128)


def numbered(counts: list[int]) -> Dataset:
    """A data set whose images (1, 1, 1) are numbered, with `counts` samples of each class, mixed."""
    y = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    x = np.arange(len(y), dtype=np.int32).reshape(-1, 1, 1, 1)
    return Dataset(x, y, tuple(f"c{i}" for i in range(len(counts))), (0, 1), "here", "none")


class TestDigits:
    @pytest.mark.parametrize(
        ("config", "shape"), [(Digits(8, 1, SPLITS), (1, 8, 8)), (Digits(32, 3, SPLITS), (3, 32, 32))]
    )
    def test_form(self, config: Digits, shape: tuple[int, ...]) -> None:
        digits = load(config)
        assert digits.x.shape == (1797, *shape)
        assert digits.x.dtype == np.uint8
        assert digits.y.dtype == np.int64
        assert (digits.x == digits.x[:, :1]).all()
        assert (digits.x.min(), digits.x.max()) == digits.value_range == (0, 255)
        assert digits.class_names == tuple("0123456789")

    def test_at_their_own_size_are_the_original(self) -> None:
        from sklearn.datasets import load_digits

        scaled = np.rint(load_digits().images * 255 / 16)
        np.testing.assert_array_equal(load(Digits(8, 1, SPLITS)).x[:, 0], scaled)

    @pytest.mark.parametrize("size", [8, 11, 32])
    def test_resize_is_bilinear_as_torch_defines_it(self, size: int) -> None:
        images = np.random.default_rng(0).random((3, 8, 8))
        expected = torch.nn.functional.interpolate(torch.from_numpy(images)[None], size=size, mode="bilinear")
        np.testing.assert_allclose(resize(images, size), expected[0], atol=1e-12)


class TestRegistry:
    def test_has_a_loader_for_each_choice(self) -> None:
        assert LOADERS.keys() == CHOICES.keys()

    def test_loads_what_the_config_says(self) -> None:
        config = Digits(9, 1, SPLITS)
        assert dataset_name(config) == "digits"
        assert load_dataset(config).x.shape[1:] == (1, 9, 9)


class TestSplit:
    @settings(max_examples=50, deadline=None)
    @given(
        counts=st.lists(st.integers(20, 60), min_size=2, max_size=5),
        test=st.floats(0.1, 0.4),
        validation=st.floats(0.1, 0.4),
        calibration=st.integers(0, 6),
        seed=st.integers(0, 5),
    )
    def test_parts_are_disjoint_complete_sized_and_stratified(
        self, counts: list[int], test: float, validation: float, calibration: int, seed: int
    ) -> None:
        dataset = numbered(counts)
        parts = split(dataset, Splits(test, validation, calibration), seed)
        together = np.concatenate([part.x.ravel() for part in parts.values()])
        np.testing.assert_array_equal(np.sort(together), np.arange(sum(counts)))
        assert len(parts["test"]) == round(test * sum(counts))
        assert len(parts["validation"]) == round(validation * sum(counts))
        assert len(parts["calibration"]) == calibration
        for part in parts.values():
            np.testing.assert_array_equal(part.y, dataset.y[part.x.ravel()])
            ideal = len(part) * np.array(counts) / sum(counts)
            assert np.abs(np.bincount(part.y, minlength=len(counts)) - ideal).max() < 2

    def test_is_fixed_by_the_seed(self) -> None:
        dataset = numbered([30, 30])
        one, same, other = (split(dataset, Splits(0.2, 0.2, 5), seed) for seed in (1, 1, 2))
        for name in one:
            np.testing.assert_array_equal(one[name].x, same[name].x)
        assert set(one["test"].x.ravel()) != set(other["test"].x.ravel())

    def test_sets_measured_on_do_not_change_with_the_calibration_set(self) -> None:
        few, many = (split(numbered([30, 30]), Splits(0.2, 0.2, n), 0) for n in (0, 20))
        for name in ("test", "validation"):
            np.testing.assert_array_equal(few[name].x, many[name].x)
        assert len(few["calibration"]) == 0

    def test_every_prefix_is_nearly_stratified(self) -> None:
        calibration = split(numbered([60, 60, 120]), Splits(0.2, 0.2, 48), 0)["calibration"]
        for n in (8, 16, 32):
            np.testing.assert_allclose(np.bincount(calibration.y[:n]), [n / 4, n / 4, n / 2], atol=1)

    def test_digits(self) -> None:
        parts = split(load(Digits(8, 1, SPLITS)), SPLITS, 0)
        sizes = {name: len(part) for name, part in parts.items()}
        assert sizes == {"test": 449, "validation": 270, "calibration": 128, "train": 950}

    @pytest.mark.parametrize(
        ("counts", "splits", "message"),
        [
            ([40, 2], Splits(0.2, 0.2, 0), "class c1 has 2 samples, of which test gets none"),
            ([40, 40], Splits(0.2, 0.001, 0), "class c0 has 40 samples, of which validation gets none"),
            ([2, 2], Splits(0.5, 0.49, 0), "class c0 has 2 samples, of which train gets none"),
            ([40, 40], Splits(0.2, 0.2, 48), "calibration is 48, but test and validation leave 48 samples"),
            ([40, 40], Splits(0.2, 0.2, 999), "calibration is 999, but test and validation leave 48 samples"),
        ],
    )
    def test_refuses_what_leaves_a_class_out(self, counts: list[int], splits: Splits, message: str) -> None:
        with pytest.raises(DataError, match=re.escape(message)):
            split(numbered(counts), splits, 0)


class TestDescription:
    def test_describes_the_training_split(self) -> None:
        dataset = load(Digits(8, 3, SPLITS))
        parts = split(dataset, SPLITS, 0)
        description = describe("digits", dataset, parts)
        x = parts["train"].x.astype(np.float64)
        np.testing.assert_allclose(description.mean, x.mean(axis=(0, 2, 3)))
        np.testing.assert_allclose(description.std, x.std(axis=(0, 2, 3)))
        assert description.input_shape == (3, 8, 8)
        assert description.samples["calibration"] == 128

    def test_a_constant_channel_is_left_unscaled(self) -> None:
        dataset = numbered([20, 20])
        dataset = replace(dataset, x=np.full_like(dataset.x, 7))
        assert describe("d", dataset, split(dataset, Splits(0.2, 0.2, 0), 0)).std == (1.0,)

    def test_survives_saving_with_the_splits(self, tmp_path: Path) -> None:
        dataset = load(Digits(8, 1, SPLITS))
        parts = split(dataset, SPLITS, 0)
        description = describe("digits", dataset, parts)
        save_description(tmp_path / "description.json", description)
        save_split(tmp_path / "train", parts["train"])
        assert load_description(tmp_path / "description.json") == description
        np.testing.assert_array_equal(load_split(tmp_path / "train").x, parts["train"].x)


class TestAugment:
    IMAGES = np.random.default_rng(0).random((40, 2, 5, 6)).astype(np.float32)

    def augmented(self, shift: int, flip: bool, seed: int = 0) -> np.ndarray:
        return augment(self.IMAGES, np.random.default_rng(seed), Augment(shift, flip))

    def test_moves_each_image_on_its_own_and_repeats_its_edge(self) -> None:
        moved = self.augmented(2, False)
        padded = np.pad(self.IMAGES, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")
        offsets = [(top, left) for top in range(5) for left in range(5)]
        crops = np.stack([padded[:, :, top : top + 5, left : left + 6] for top, left in offsets])
        matches = (crops == moved).all(axis=(2, 3, 4))
        assert matches.any(axis=0).all()
        assert len(set(matches.argmax(axis=0))) > 10

    def test_flip_mirrors_about_half_of_the_images(self) -> None:
        result = self.augmented(0, True)
        same = (result == self.IMAGES).all(axis=(1, 2, 3))
        mirrored = (result == self.IMAGES[..., ::-1]).all(axis=(1, 2, 3))
        assert (same ^ mirrored).all()
        assert 10 < mirrored.sum() < 30

    def test_without_either_is_a_copy(self) -> None:
        result = self.augmented(0, False)
        np.testing.assert_array_equal(result, self.IMAGES)
        assert not np.shares_memory(result, self.IMAGES)

    def test_is_fixed_by_the_generator_and_leaves_its_input_alone(self) -> None:
        before = self.IMAGES.copy()
        np.testing.assert_array_equal(self.augmented(2, True), self.augmented(2, True))
        assert not np.array_equal(self.augmented(2, True), self.augmented(2, True, seed=1))
        np.testing.assert_array_equal(self.IMAGES, before)
        assert self.augmented(2, True).dtype == np.float32


def test_a_split_gives_float_inputs() -> None:
    raw = Split(np.full((2, 1, 2, 2), 255, np.uint8), np.zeros(2, np.int64))
    assert raw.inputs().dtype == np.float32
    assert raw.inputs().max() == 255
