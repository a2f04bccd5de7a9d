"""Data sets, their splits, and augmentation."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress.config.data import CHOICES, Digits, Splits
from edgepress.config.train import Augment
from edgepress.datasets import splits
from edgepress.datasets.augment import augment
from edgepress.datasets.class_names import require_class_names
from edgepress.datasets.dataset import Dataset
from edgepress.datasets.digits import load, resize
from edgepress.datasets.identical import find_identical
from edgepress.datasets.prepared import Split, load_description, load_split, save_description, save_split
from edgepress.datasets.registry import LOADERS, dataset_name, load_dataset
from edgepress.datasets.splits import describe, remarks, save, split
from edgepress.datasets.spool import Spool
from edgepress.errors import ArtifactError, DataError

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
        calibration=st.integers(0, 2),
        seed=st.integers(0, 5),
    )
    def test_parts_are_disjoint_complete_sized_and_stratified(
        self, counts: list[int], test: float, validation: float, calibration: int, seed: int
    ) -> None:
        dataset = numbered(counts)
        parts = split(dataset, Splits(test, validation, calibration), seed)
        together = np.concatenate(list(parts.values()))
        np.testing.assert_array_equal(np.sort(together), np.arange(sum(counts)))
        assert len(parts["test"]) == round(test * sum(counts))
        assert len(parts["validation"]) == round(validation * sum(counts))
        assert len(parts["calibration"]) == calibration
        for name, part in parts.items():
            ideal = len(part) * np.array(counts) / sum(counts)
            rounded = 1 if name in ("test", "validation") else 3  # the others are shares of what these leave
            assert np.abs(np.bincount(dataset.y[part], minlength=len(counts)) - ideal).max() < rounded

    def test_is_fixed_by_the_seed(self) -> None:
        dataset = numbered([30, 30])
        one, same, other = (split(dataset, Splits(0.2, 0.2, 5), seed) for seed in (1, 1, 2))
        for name in one:
            np.testing.assert_array_equal(one[name], same[name])
        assert set(one["test"]) != set(other["test"])

    def test_sets_measured_on_do_not_change_with_the_calibration_set(self) -> None:
        few, many = (split(numbered([30, 30]), Splits(0.2, 0.2, n), 0) for n in (0, 20))
        for name in ("test", "validation"):
            np.testing.assert_array_equal(few[name], many[name])
        assert len(few["calibration"]) == 0

    def test_every_prefix_is_nearly_stratified(self) -> None:
        dataset = numbered([60, 60, 120])
        calibration = dataset.y[split(dataset, Splits(0.2, 0.2, 48), 0)["calibration"]]
        for n in (8, 16, 32):
            np.testing.assert_allclose(np.bincount(calibration[:n]), [n / 4, n / 4, n / 2], atol=1)

    @settings(max_examples=60, deadline=None)
    @given(
        counts=st.lists(st.integers(3, 40), min_size=2, max_size=6),
        calibration=st.integers(0, 2000),
        seed=st.integers(0, 5),
    )
    def test_a_small_set_gives_each_part_some_of_each_class(
        self, counts: list[int], calibration: int, seed: int
    ) -> None:
        config = Splits(0.25, 0.15, calibration)
        dataset = numbered(counts)
        parts = split(dataset, config, seed)
        np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(sum(counts)))
        for name in ("train", "validation", "test"):
            assert set(dataset.y[parts[name]]) == set(range(len(counts))), name
        left = len(parts["train"]) + len(parts["calibration"])
        assert len(parts["calibration"]) <= min(calibration, math.ceil(left / 4))
        told = remarks(dataset, parts, config)
        assert any("splits.calibration is" in one for one in told) == (
            len(parts["calibration"]) < calibration
        )

    @pytest.mark.parametrize(
        ("counts", "sizes", "told"),
        [
            ([40, 40, 40], [30, 18, 18, 54], ["calibration gets 18 and training 54"]),
            (
                [4, 4, 4],
                [3, 3, 2, 4],
                [
                    "validation is 0.15, 2 of 12 samples; with one at least of each class",
                    "gets 2",
                ],
            ),
            ([500, 500], [250, 150, 128, 472], []),
        ],
    )
    def test_photos_suffice_at_the_defaults_and_what_is_smaller_is_told(
        self, counts: list[int], sizes: list[int], told: list[str]
    ) -> None:
        dataset = numbered(counts)
        parts = split(dataset, SPLITS, 0)
        assert [len(parts[name]) for name in ("test", "validation", "calibration", "train")] == sizes
        said = remarks(dataset, parts, SPLITS)
        assert len(said) == len(told)
        assert all(part in one for part, one in zip(told, said, strict=True))

    def test_splits_of_the_users_own_give_calibration_a_share_of_training(self) -> None:
        dataset = replace(numbered([20, 20]), given={"test": np.arange(5), "validation": np.arange(5, 10)})
        parts = split(dataset, SPLITS, 0)
        assert (len(parts["calibration"]), len(parts["train"])) == (8, 22)

    def test_digits(self) -> None:
        parts = split(load(Digits(8, 1, SPLITS)), SPLITS, 0)
        sizes = {name: len(part) for name, part in parts.items()}
        assert sizes == {"test": 449, "validation": 270, "calibration": 128, "train": 950}

    def test_given_parts_stay_and_the_fractions_are_of_the_rest(self) -> None:
        dataset = numbered([50, 50])
        given = np.arange(20)
        parts = split(replace(dataset, given={"test": given}), Splits(0.5, 0.25, 10), 0)
        assert set(parts["test"]) == set(given)
        assert {name: len(part) for name, part in parts.items()} == {
            "test": 20,
            "validation": 20,
            "calibration": 10,
            "train": 50,
        }
        np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(100))

    @pytest.mark.parametrize(
        ("counts", "config", "message"),
        [
            (
                [40, 2],
                Splits(0.2, 0.2, 0),
                "class c1 has 2 samples; expected at least 3, one for each of ",
            ),
            ([40, 1, 0], Splits(0.2, 0.2, 0), "class c1 has 1 samples, class c2 has 0 samples; expected at "),
            ([4, 4], Splits(0.5, 0.49, 0), "class c0 has 4 samples, of which train gets none"),
        ],
    )
    def test_refuses_what_leaves_a_class_out(self, counts: list[int], config: Splits, message: str) -> None:
        with pytest.raises(DataError, match=re.escape(message)):
            split(numbered(counts), config, 0)


def copied(copies: int, each: int, seed: int = 0, **changes: Any) -> Dataset:
    """Two classes of `each` different samples, every one of them `copies` times, in any order."""
    order = np.random.default_rng(seed).permutation(2 * each * copies)
    values = np.arange(2 * each).repeat(copies)[order]
    dataset = Dataset(values.reshape(-1, 1, 1, 1), values % 2, ("a", "b"), (0, 1), "here", "none")
    return replace(dataset, **changes)


def sides(dataset: Dataset, parts: dict[str, np.ndarray]) -> dict[str, set[int]]:
    """The values on each side; calibration may share some with training."""
    values = {name: set(dataset.x[part].ravel().tolist()) for name, part in parts.items()}
    return {
        "test": values["test"],
        "validation": values["validation"],
        "rest": values["train"] | values["calibration"],
    }


class TestIdentical:
    @pytest.mark.parametrize("copies", [2, 3, 7])
    @pytest.mark.parametrize("seed", range(3))
    def test_copies_are_told_and_stay_on_one_side(self, copies: int, seed: int) -> None:
        dataset = copied(copies, 30, seed)
        same = find_identical(dataset)
        parts = split(dataset, Splits(0.2, 0.2, 10), seed, same)
        np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(60 * copies))
        found = sides(dataset, parts)
        assert not found["test"] & found["validation"]
        assert not (found["test"] | found["validation"]) & found["rest"]
        for name in ("test", "validation"):
            assert abs(len(parts[name]) - 0.2 * 60 * copies) < 2 * copies
            assert set(dataset.y[parts[name]]) == {0, 1}
        assert len(parts["calibration"]) == 10
        (told,) = same.remarks
        assert told.startswith(
            f"{60 * (copies - 1)} samples are copies of others once they are prepared, e.g. sample "
        )
        before = sides(dataset, split(dataset, Splits(0.2, 0.2, 10), seed))
        assert before["test"] & before["rest"]  # without them being looked at

    def test_the_digits_have_none_and_are_split_as_before(self) -> None:
        digits = load(Digits(8, 1, SPLITS))
        same = find_identical(digits)
        assert (same.any, same.remarks, same.left_out.tolist()) == (False, (), [])
        before, after = split(digits, SPLITS, 3), split(digits, SPLITS, 3, same)
        for name, indices in before.items():
            np.testing.assert_array_equal(indices, after[name])

    def test_of_given_splits_what_is_measured_on_stays_and_its_copies_are_left_out(self) -> None:
        values = np.array([*range(20), 0, 1, 20, 21, 22, 2, 3, 20, 23, 24])
        given = {"test": np.arange(20, 25), "validation": np.arange(25, 30)}
        dataset = Dataset(values.reshape(-1, 1, 1, 1), values % 2, ("a", "b"), (0, 1), "here", "none", given)
        same = find_identical(dataset)
        parts = split(dataset, Splits(0.2, 0.2, 0), 0, same)
        assert sorted(values[parts["test"]]) == [0, 1, 20, 21, 22]
        assert sorted(values[parts["validation"]]) == [2, 3, 23, 24]
        assert sorted(values[parts["train"]]) == [*range(4, 20)]
        assert "warning: 5 copies of samples for testing or validation were left out" in same.remarks[-1]

    def test_the_same_sample_in_two_classes_is_told_by_name(self) -> None:
        dataset = copied(1, 20, names=[f"{n}.png" for n in range(40)])
        y = dataset.y.copy()
        x = dataset.x.copy()
        one, other = np.flatnonzero(y == 0)[0], np.flatnonzero(y == 1)[0]
        x[one] = x[other]
        dataset = replace(dataset, x=x)
        same = find_identical(dataset)
        assert "1 of them are of another class than what they are the same as, e.g. " in same.remarks[1]
        assert f"{min(one, other)}.png and {max(one, other)}.png" in same.remarks[1]
        for seed in range(5):
            found = sides(dataset, split(dataset, Splits(0.3, 0.3, 0), seed, same))
            assert not found["test"] & found["validation"]
            assert not (found["test"] | found["validation"]) & found["rest"]

    def test_a_class_of_which_all_are_the_same_is_refused(self) -> None:
        values = np.array([*range(20), *[99] * 20])
        dataset = Dataset(values.reshape(-1, 1, 1, 1), (values == 99).astype(int), ("a", "b"), (0, 1), "", "")
        with pytest.raises(
            DataError, match=r"class b has no sample for .* but copies of those elsewhere; bring more"
        ):
            split(dataset, Splits(0.2, 0.2, 0), 0, find_identical(dataset))


class TestClassNames:
    @pytest.mark.parametrize(
        "names",
        [
            ["0", "1"],
            ["T-shirt/top", "a b"],
            ["犬", "猫"],
            ["<unk>", "a,b"],
            ["می\u200cخواهم", "b"],
            ["a\u3000b", "c"],
        ],
    )
    def test_names_that_can_be_read_are_taken(self, names: list[str]) -> None:
        require_class_names(names, "here")

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            ([""], "is called '', which is nothing"),
            (["  "], "which is nothing"),
            ([" a"], "is called ' a', with space around it"),
            (["a\nb"], r"is called 'a\\nb', which holds the character \\n"),
            (["\x1b[31m"], r"holds the character \\x1b"),
            (["\u202eexe"], r"holds the character \\u202e"),
            (["a\u200bb"], r"holds the character \\u200b"),
            (["a\u200d"], r"holds the character \\u200d"),
            (["\udcff"], r"holds the character \\udcff"),
            (["x" * 100_000], "of 100,000 characters"),
            (["é", "e\u0301"], r"two classes in here are called '\\xe9' and 'e\\u0301', which look the same"),
            (["ab", "a\u200cb"], "which look the same"),
        ],
    )
    def test_others_are_refused(self, names: list[str], message: str) -> None:
        with pytest.raises(DataError, match=message) as error:
            require_class_names(names, "here")
        assert len(str(error.value)) < 400


class TestSave:
    def test_writes_what_numpy_would_and_describes_the_training_split(self, tmp_path: Path) -> None:
        dataset = load(Digits(8, 3, SPLITS))
        parts = split(dataset, SPLITS, 0)
        description = describe("digits", dataset, parts, save(dataset, parts, tmp_path))
        for name, part in parts.items():
            for array, values in (("x", np.asarray(dataset.x[part])), ("y", dataset.y[part])):
                np.save(tmp_path / "expected.npy", values)
                written = (tmp_path / name / f"{array}.npy").read_bytes()
                assert written == (tmp_path / "expected.npy").read_bytes()
        x = dataset.x[parts["train"]].astype(np.float64)
        np.testing.assert_allclose(description.mean, x.mean(axis=(0, 2, 3)))
        np.testing.assert_allclose(description.std, x.std(axis=(0, 2, 3)))
        assert description.input_shape == (3, 8, 8)
        assert description.samples["calibration"] == 128

    def test_moments_are_those_of_the_whole_however_it_is_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        x = np.random.default_rng(0).normal(1000, [[[[1]], [[9]]]], (500, 2, 4, 3)).astype(np.float32)
        dataset = Dataset(x, np.arange(500) % 2, ("a", "b"), (0, 1), "here", "none")
        parts = split(dataset, Splits(0.2, 0.2, 0), 0)
        monkeypatch.setattr(splits, "PART_BYTES", 7 * x[0].nbytes)
        moments = save(dataset, parts, tmp_path)
        exact = x[parts["train"]].astype(np.float64)
        np.testing.assert_allclose(moments.mean, exact.mean(axis=(0, 2, 3)), rtol=1e-12)
        np.testing.assert_allclose(moments.variance, exact.var(axis=(0, 2, 3)), rtol=1e-9)
        np.testing.assert_array_equal(load_split(tmp_path / "train").x, x[parts["train"]])
        assert load_split(tmp_path / "calibration").x.shape == (0, 2, 4, 3)

    def test_a_constant_channel_is_left_unscaled(self, tmp_path: Path) -> None:
        dataset = numbered([20, 20])
        dataset = replace(dataset, x=np.full((40, 1, 1, 1), 7))
        parts = split(dataset, Splits(0.2, 0.2, 0), 0)
        assert describe("d", dataset, parts, save(dataset, parts, tmp_path)).std == (1.0,)

    def test_the_description_survives_saving(self, tmp_path: Path) -> None:
        dataset = load(Digits(8, 1, SPLITS))
        parts = split(dataset, SPLITS, 0)
        description = describe("digits", dataset, parts, save(dataset, parts, tmp_path))
        save_description(tmp_path / "description.json", description)
        assert load_description(tmp_path / "description.json") == description

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"mean": "x"}, "mean of another form"),
            ({"mean": [1.0, 2.0]}, "mean or std of another form"),
            ({"input_shape": [1, 8]}, "input_shape of another form"),
            ({"samples": {"train": -1}, "std": [None]}, "std, samples of another form"),
            ({"class_names": {}}, "class_names of another form"),
        ],
    )
    def test_a_description_of_another_form_is_refused(
        self, tmp_path: Path, change: dict[str, Any], message: str
    ) -> None:
        dataset = replace(load(Digits(8, 1, SPLITS)), source="", licence="")
        parts = split(dataset, SPLITS, 0)
        path = tmp_path / "description.json"
        save_description(path, describe("digits", dataset, parts, save(dataset, parts, tmp_path)))
        assert load_description(path).source == ""
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
        with pytest.raises(ArtifactError, match=f"not a data description .{message}"):
            load_description(path)

    def test_a_split_survives_saving(self, tmp_path: Path) -> None:
        saved = Split(np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2), np.array([1, 0]))
        save_split(tmp_path, saved)
        np.testing.assert_array_equal(load_split(tmp_path).x, saved.x)


class TestSpool:
    def test_gives_back_any_rows_and_leaves_no_file(self, tmp_path: Path) -> None:
        rows = np.random.default_rng(0).integers(0, 256, (9, 3, 4, 4), np.uint8)
        spool = Spool(tmp_path, (3, 4, 4), np.dtype(np.uint8))
        for row in rows:
            spool.append(row)
        chosen = np.array([8, 0, 3, 3])
        assert spool.shape == rows.shape
        np.testing.assert_array_equal(spool[chosen], rows[chosen])
        assert list(tmp_path.iterdir()) == []


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

    @pytest.mark.parametrize("shape", [(6, 1, 1), (6, 1, 4), (1, 3, 2)])
    def test_takes_images_smaller_than_the_shift(self, shape: tuple[int, ...]) -> None:
        images = np.random.default_rng(0).normal(size=(30, *shape)).astype(np.float32)
        result = augment(images, np.random.default_rng(0), Augment(3, True))
        assert result.shape == images.shape
        for before, after in zip(images, result, strict=True):
            for channel in range(shape[0]):
                assert set(after[channel].ravel()) <= set(before[channel].ravel())

    def test_leaves_vectors_as_they_are(self) -> None:
        vectors = np.random.default_rng(0).normal(size=(30, 6, 1, 1)).astype(np.float32)
        result = augment(vectors, np.random.default_rng(0), Augment(2, True))
        np.testing.assert_array_equal(result, vectors)

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
