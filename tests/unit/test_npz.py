"""Data sets in .npz files, and what is wrong with them."""

import os
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from edgepress.config.data import Inputs, Npz, Splits
from edgepress.datasets.dataset import Dataset
from edgepress.datasets.inputs import load as load_inputs
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
    with pytest.raises(
        DataError,
        match=r"data\.npz has no array x and no y, but: x_train; .*: -S data\.layout=named$",
    ):
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


def npy(header: str, content: bytes = b"", version: bytes = b"\1\0") -> bytes:
    """A .npy file with a header of our own."""
    length = len(header).to_bytes(2 if version == b"\1\0" else 4, "little")
    return b"\x93NUMPY" + version + length + header.encode("latin-1") + content


def plain(descr: str, shape: str) -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


HOSTILE_HEADERS: dict[str, tuple[bytes, str]] = {
    "a shape of 3 GiB": (npy(plain("'<f4'", "(805306368,)"), bytes(8)), "3,221,225,472 bytes, but has 8"),
    "a shape beyond numbers": (npy(plain("'<f4'", "(" + "9" * 400 + ",)")), "its shape .* is none"),
    "a negative shape": (npy(plain("'<f4'", "(-1,)")), "not that of a plain array"),
    "many axes": (npy(plain("'<f4'", "(" + "1," * 900 + ")"), bytes(4)), "its shape .* is none"),
    "an enormous text": (npy(plain("'<U999999999'", "(1,)")), "U999999999. is none|but has 0"),
    "texts of nothing": (npy(plain("'<U0'", "(999999999999,)")), "its type '<U0' has no bytes"),
    "objects": (npy(plain("'|O'", "(1,)"), bytes(8)), "Object arrays cannot be read"),
    "fields": (npy(plain("[('a', '<f4')]", "(1,)"), bytes(4)), "not that of a plain array"),
    "code": (npy(plain("__import__('os')", "(1,)")), "not that of a plain array"),
    "depth": (npy("{'descr': " + "-" * 9000 + "1}"), "not that of a plain array"),
    "brackets": (npy("(" * 9000), "its header is none of numpy's"),
    "a header of megabytes": (npy("{" + " " * 2_000_000, version=b"\2\0"), "its header has 2,000,001 bytes"),
    "half a header": (npy(plain("'<f4'", "(2,)"))[:40], "its header is"),
    "an unknown version": (npy("", version=b"\7\0"), "does not begin as numpy's files do"),
    "a type that is none": (npy(plain("'<q9'", "(2,)")), "its type '<q9' is none"),
    "a missing key": (npy("{'descr': '<f4', 'shape': (1,)}"), "its header has no 'fortran_order'"),
    "a key twice": (npy("{'descr': '<f4', 'descr': '<f8'}"), "not that of a plain array"),
    "more than it says": (npy(plain("'<f4'", "(1,)"), bytes(8)), "4 bytes, but has 8"),
    "control characters": (npy("{\x1b[31m"), r"its header is"),
}  # fmt: skip


@pytest.mark.parametrize("fault", HOSTILE_HEADERS)
def test_headers_are_read_as_data_and_must_be_true(fault: str, tmp_path: Path) -> None:
    content, message = HOSTILE_HEADERS[fault]
    single, several = tmp_path / "x.npy", tmp_path / "data.npz"
    single.write_bytes(content)
    with zipfile.ZipFile(several, "w") as archive:
        archive.writestr("x.npy", content)
        archive.writestr("y.npy", b"")
    inputs = Inputs(str(single), "", "", "nf", SPLITS)
    for load_one in (lambda: load(Npz(str(several), "", "", "nf", SPLITS)), lambda: load_inputs(inputs)):
        with pytest.raises(DataError, match=message) as error:
            load_one()
        assert len(str(error.value)) < 600
        assert str(error.value).isprintable()


def entry_bytes(path: Path, signature: bytes, offset: int, value: bytes) -> None:
    """Change a field of each entry of a zip's directory, or of each file's own head."""
    content = bytearray(path.read_bytes())
    place = content.find(signature)
    while place >= 0:
        content[place + offset : place + offset + len(value)] = value
        place = content.find(signature, place + 4)
    path.write_bytes(content)


HEAD, ENTRY = b"PK\3\4", b"PK\1\2"
HOSTILE_ZIPS: dict[str, tuple[list[tuple[bytes, int, bytes]], str]] = {
    "encrypted": ([(HEAD, 6, b"\1"), (ENTRY, 8, b"\1")], "encrypted"),
    "compressed otherwise": ([(HEAD, 8, b"\x63"), (ENTRY, 10, b"\x63")], "compressed by method 99; expected"),
    "compressed by lzma": ([(HEAD, 8, b"\x0e"), (ENTRY, 10, b"\x0e")], "compressed by method 14"),
    "a link": ([(ENTRY, 38, b"\0\0\xff\xa1")], "a link, which is not followed"),
    "a wrong checksum": ([(HEAD, 14, b"1234"), (ENTRY, 16, b"1234")], "Bad CRC-32"),
    "more declared than there is": ([(ENTRY, 24, b"\0\0\0\x0f")], "bytes, but has 251,658"),
    "3 GiB declared": ([(ENTRY, 24, b"\0\0\0\xc0")], "its arrays unpack to more than 268,4"),
    "less declared than there is": ([(ENTRY, 24, b"\x10\0\0\0")], "."),
    "another name inside": ([(HEAD, 30, b"z")], "File name in directory .* differ"),
    "a far offset": ([(ENTRY, 42, b"\xff\xff\xff\x7f")], "."),
}  # fmt: skip


@pytest.mark.parametrize("fault", HOSTILE_ZIPS)
def test_what_a_zip_says_of_its_files_is_not_believed(fault: str, tmp_path: Path) -> None:
    changes, message = HOSTILE_ZIPS[fault]
    path = tmp_path / "data.npz"
    np.savez_compressed(path, x=IMAGES, y=CLASSES)
    load(Npz(str(path), "", "", "nhwc", SPLITS))
    for change in changes:
        entry_bytes(path, *change)
    with pytest.raises(DataError, match=message) as error:
        load(Npz(str(path), "", "", "nhwc", SPLITS))
    assert str(error.value).isprintable()


def test_an_array_that_unpacks_to_gigabytes_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("x.npy", "w") as file:
            file.write(npy(plain("'|u1'", f"({300 << 20},)")))
            for _ in range(300):
                file.write(bytes(1 << 20))
        archive.writestr("y.npy", b"")
    with pytest.raises(DataError, match=r"unpack to more than .* bytes, .* uncompressed, with numpy\.savez"):
        load(Npz(str(path), "", "", "nf", SPLITS))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_are_there_twice_are_told(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, x=IMAGES, y=CLASSES)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x.npy", b"")
    with pytest.raises(
        DataError, match=r"1 names are in .*data\.npz more than once: x\.npy; expected each once"
    ):
        load(Npz(str(path), "", "", "nhwc", SPLITS))


def test_a_pipe_is_no_npz(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "data.npz")
    with pytest.raises(DataError, match="is a pipe; expected a regular file"):
        load(Npz(str(tmp_path / "data.npz"), "", "", "nhwc", SPLITS))


def test_texts_that_are_no_unicode_are_refused(tmp_path: Path) -> None:
    y = np.array(["a", "b"] * 3)
    y.view(np.uint32)[:] = 0x7FFFFFFF
    with pytest.raises(DataError, match="texts that are no Unicode"):
        loaded(tmp_path, y=y)
