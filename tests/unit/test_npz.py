"""Data sets in .npz files, and what is wrong with them."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from edgepress.config.data import Npz, Splits
from edgepress.datasets.dataset import Dataset
from edgepress.datasets.npz import load
from edgepress.errors import DataError

SPLITS = Splits(test=0.25, validation=0.25, calibration=2)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 4, 5, 3), np.uint8)  # N, H, W, C
CLASSES = np.array([0, 1, 2, 0, 1, 2])

Layout = Literal["nchw", "nhwc", "nhw", "nf"]


def loaded(folder: Path, layout: Layout = "nhwc", **arrays: Any) -> Dataset:
    path = folder / "data.npz"
    np.savez_compressed(path, **{"x": IMAGES, "y": CLASSES, **arrays})
    return load(Npz(str(path), "a sensor", "CC0", layout, SPLITS))


def inputs(dataset: Dataset) -> np.ndarray:
    return dataset.x[np.arange(dataset.x.shape[0])]


LAYOUTS: dict[Layout, tuple[np.ndarray, np.ndarray]] = {
    "nhwc": (IMAGES, np.moveaxis(IMAGES, -1, 1)),
    "nchw": (IMAGES, IMAGES),
    "nhw": (IMAGES[..., 0], IMAGES[:, np.newaxis, :, :, 0]),
    "nf": (IMAGES[:, 0, :, 0], IMAGES[:, 0, :, :1, np.newaxis]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_becomes_nchw(layout: Layout, tmp_path: Path) -> None:
    x, expected = LAYOUTS[layout]
    dataset = loaded(tmp_path, layout, x=x)
    np.testing.assert_array_equal(inputs(dataset), expected)
    assert (dataset.y.tolist(), dataset.y.dtype) == (CLASSES.tolist(), np.int64)
    assert dataset.class_names == ("0", "1", "2")
    assert (dataset.source, dataset.licence) == ("a sensor", "CC0")


def test_an_array_in_the_order_of_fortran_is_the_same(tmp_path: Path) -> None:
    np.testing.assert_array_equal(inputs(loaded(tmp_path, "nchw", x=np.asfortranarray(IMAGES))), IMAGES)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("uint8", "uint8"),
        ("int8", "int8"),
        (">u2", "uint16"),
        ("float16", "float16"),
        ("float32", "float32"),
        ("float64", "float32"),
        ("int64", "float32"),
        ("bool", "uint8"),
    ],
)
def test_types(given: str, stored: str, tmp_path: Path) -> None:
    x = (IMAGES // 3).astype(given)
    dataset = loaded(tmp_path, x=x)
    assert dataset.x.dtype == inputs(dataset).dtype == np.dtype(stored)
    np.testing.assert_array_equal(inputs(dataset), np.moveaxis(x, -1, 1).astype(stored))
    assert dataset.value_range == ((0, 255) if stored == "uint8" else (x.min(), x.max()))


def test_names_of_classes(tmp_path: Path) -> None:
    assert loaded(tmp_path, class_names=np.array(["a", "b", "c", "d"])).class_names == ("a", "b", "c", "d")
    texts = loaded(tmp_path, y=np.array(["cat", "ant", "cat", "bee", "ant", "bee"]))
    assert (texts.class_names, texts.y.tolist()) == (("ant", "bee", "cat"), [2, 0, 2, 1, 0, 1])


NAN, HUGE = (np.full((6, 4, 5, 3), value) for value in (np.nan, 1e300))
NAN[:4] = 0
REFUSED: dict[str, tuple[Layout, dict[str, Any], str]] = {
    "axes": (
        "nhw",
        {},
        r"shape \(6, 4, 5, 3\), but data\.layout is 'nhw', 3 axes; data\.layout=nchw or nhwc has",
    ),
    "more axes": ("nhw", {"x": np.zeros((6, 1, 1, 1, 1))}, r"'nhw', 3 axes; reshape it"),
    "empty": ("nhwc", {"x": np.zeros((6, 0, 5, 3))}, r"has shape \(6, 0, 5, 3\), which holds nothing"),
    "complex": ("nhwc", {"x": IMAGES * 1j}, "x in .* is of type complex128; expected integers or"),
    "texts": ("nf", {"x": np.array([["a"]] * 6)}, "x in .* is of type <U1; expected integers or"),
    "objects": (
        "nhwc",
        {"y": np.array([{}] * 6)},
        "no .npz file of plain arrays: Object arrays cannot",
    ),
    "nan": ("nhwc", {"x": NAN}, "x in .* is NaN or infinite, as float32, in sample 4; expected finite"),
    "overflow": ("nhwc", {"x": HUGE}, "x in .* is NaN or infinite, as float32, in sample 0"),
    "too few classes": ("nhwc", {"y": CLASSES[:5]}, r"y in .* has shape \(5,\), but x has 6 samples"),
    "one-hot": (
        "nhwc",
        {"y": np.eye(6)},
        r"y in .* has shape \(6, 6\), but x has 6 samples; expected",
    ),
    "float classes": ("nhwc", {"y": CLASSES * 1.0}, "y in .* is of type float64; expected integers from 0"),
    "negative": ("nhwc", {"y": CLASSES - 1}, "y in .* holds -1; expected classes that count from 0"),
    "gap": (
        "nhwc",
        {"y": CLASSES * 2},
        "y in .* goes up to 4 but holds only 3 classes; expected each",
    ),
    "one class": ("nhwc", {"y": CLASSES * 0}, "y in .* holds one class, 0; expected two or more"),
    "few names": ("nhwc", {"class_names": np.array(["a", "b"])}, "text for each class, of which y has 3"),
    "same names": ("nhwc", {"class_names": np.array(["a", "b", "a"])}, "holds a name twice"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_other_arrays_are_refused_by_name(fault: str, tmp_path: Path) -> None:
    layout, arrays, message = REFUSED[fault]
    with pytest.raises(DataError, match=message) as error:
        loaded(tmp_path, layout, **arrays)
    assert "\n" not in str(error.value)


def test_absent_arrays_are_named_with_those_that_are_there(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x_train=IMAGES)
    with pytest.raises(DataError, match=r"data\.npz has no array x and no y, but: x_train$"):
        load(Npz(str(tmp_path / "data.npz"), "", "", "nhwc", SPLITS))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "which is no file"),
        (b"", "no .npz file"),
        (b"PK", "no .npz file"),
        ("npy", "a single array"),
    ],
)
def test_what_is_no_npz_file_is_refused(content: bytes | str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "npy":
        with path.open("wb") as file:
            np.save(file, IMAGES)
    with pytest.raises(DataError, match=message):
        load(Npz(str(path), "", "", "nhwc", SPLITS))


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    loaded(tmp_path)
    path = tmp_path / "data.npz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"no \.npz file of plain arrays"):
        load(Npz(str(path), "", "", "nhwc", SPLITS))
