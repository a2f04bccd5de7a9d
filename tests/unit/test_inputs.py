"""Inputs without classes: read in each form, split, and never taken for more than they are."""

from pathlib import Path

import numpy as np
import pytest

from edgepress.config.data import Inputs, Splits
from edgepress.config.fine_tune import FineTune
from edgepress.config.learning import refuse_without_classes
from edgepress.config.model import Mlp, Onnx
from edgepress.config.prune import Magnitude
from edgepress.config.quant import Fp16
from edgepress.datasets.dataset import Dataset
from edgepress.datasets.inputs import load
from edgepress.datasets.prepared import load_description, load_split, save_description
from edgepress.datasets.splits import describe, remarks, save, split
from edgepress.errors import ConfigError, DataError
from edgepress.measure.inference import accuracy

X = np.random.default_rng(0).integers(0, 256, (50, 3, 6, 4)).astype(np.uint8)
SPLITS = Splits(0.25, 0.15, 10)


def loaded(path: Path, layout="nchw") -> Dataset:
    return load(Inputs(str(path), "here", "none", layout, SPLITS))


def values(dataset: Dataset) -> np.ndarray:
    return dataset.x[np.arange(dataset.x.shape[0])]


class TestForms:
    def test_npz_npy_and_folders_are_the_same(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "named.npz", x=X, other=np.zeros(3))
        np.save(tmp_path / "plain.npy", X)
        for name in ("single", "batches"):
            (tmp_path / name).mkdir()
        for i in range(0, 50, 10):
            np.save(tmp_path / "batches" / f"{i:02}.npy", X[i : i + 10])
        for i, sample in enumerate(X):
            np.save(tmp_path / "single" / f"{i:02}.npy", sample)
        for name in ("named.npz", "plain.npy", "single", "batches"):
            dataset = loaded(tmp_path / name)
            np.testing.assert_array_equal(values(dataset), X)
            assert dataset.x.dtype == np.uint8
            assert dataset.class_names == ()
            assert set(dataset.y) == {-1}

    def test_layouts(self, tmp_path: Path) -> None:
        np.save(tmp_path / "nhwc.npy", X.transpose(0, 2, 3, 1))
        np.testing.assert_array_equal(values(loaded(tmp_path / "nhwc.npy", "nhwc")), X)
        np.save(tmp_path / "nf.npy", X.reshape(50, -1).astype(np.float64))
        vectors = loaded(tmp_path / "nf.npy", "nf")
        assert (vectors.x.shape, vectors.x.dtype) == ((50, 72, 1, 1), np.float32)

    def test_files_of_a_folder_must_be_alike(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", X[0])
        np.save(tmp_path / "b.npy", X[0, :, :3])
        with pytest.raises(DataError, match=r"b\.npy holds uint8 of shape \(3, 3, 4\), but .* same in all"):
            loaded(tmp_path)

    def test_not_finite(self, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", np.where(X.max() == X, np.nan, X.astype(np.float32)))
        with pytest.raises(DataError, match=r"x in .* is NaN or infinite"):
            loaded(tmp_path / "x.npy")


class TestSplits:
    @pytest.mark.parametrize(("calibration", "train"), [(10, 20), (30, 0)])
    def test_parts_are_disjoint_and_without_classes(
        self, calibration: int, train: int, tmp_path: Path
    ) -> None:
        np.save(tmp_path / "x.npy", np.arange(50.0).reshape(50, 1))
        dataset = loaded(tmp_path / "x.npy", "nf")
        parts = split(dataset, Splits(0.25, 0.15, calibration), seed=0)
        assert {name: len(part) for name, part in parts.items()} == {
            "test": 12,
            "validation": 8,
            "calibration": calibration,
            "train": train,
        }
        assert sorted(np.concatenate(list(parts.values()))) == list(range(50))
        moments = save(dataset, parts, tmp_path / "prepared")
        description = describe("inputs", dataset, parts, moments)
        save_description(tmp_path / "d.json", description)
        assert load_description(tmp_path / "d.json") == description
        assert description.classes == 0
        part = load_split(tmp_path / "prepared" / "test")
        assert not part.has_classes
        assert accuracy(np.eye(12), part.y) is None
        assert len(load_split(tmp_path / "prepared" / "train")) == train
        seen = parts["train"] if train else np.arange(50)
        assert description.mean[0] == pytest.approx(seen.mean())

    def test_too_few(self, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", X)
        for config, sizes in (
            (Splits(0.25, 0.15, 31), [12, 8, 15, 15]),
            (Splits(0.001, 0.15, 5), [1, 8, 5, 36]),
        ):
            dataset = loaded(tmp_path / "x.npy")
            parts = split(dataset, config, seed=0)
            assert [len(parts[name]) for name in ("test", "validation", "calibration", "train")] == sizes
            assert len(remarks(dataset, parts, config)) == 1
        np.save(tmp_path / "x.npy", X[:1])
        with pytest.raises(DataError, match=r"^the data has 1 samples; expected at least 2, one for "):
            split(loaded(tmp_path / "x.npy"), Splits(0.25, 0.15, 5), seed=0)


def tuning(epochs: int, distillation: float) -> Magnitude:
    return Magnitude(0.5, 0.6, FineTune(epochs, 32, 0.001, distillation, 4.0))


class TestLearning:
    @pytest.mark.parametrize(
        ("section", "config"),
        [
            ("model", Onnx("a.onnx", "a.onnx")),
            ("prune", tuning(0, 0.0)),
            ("prune", tuning(3, 1.0)),
            ("quant", Fp16()),
        ],
    )
    def test_what_needs_no_classes_passes(self, section: str, config: object) -> None:
        refuse_without_classes(section, config)

    def test_fine_tuning_on_classes_is_refused_with_what_works(self) -> None:
        with pytest.raises(
            ConfigError,
            match=r"^prune\.fine_tune\.epochs is 3, but the data has no classes to learn; expected 0, or "
            r"prune\.fine_tune\.distillation=1 \(the network teaches itself\), or prune=none$",
        ):
            refuse_without_classes("prune", tuning(3, 0.5))

    def test_training_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="expected a trained network: -S model=onnx"):
            refuse_without_classes("model", Mlp("", (4,)))
