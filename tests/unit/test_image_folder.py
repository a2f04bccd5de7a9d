"""Images of any form in folders or zips, and what is wrong with them."""

import io
import os
import re
import shutil
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgepress.config.data import ImageFolder, Splits
from edgepress.datasets.dataset import Dataset
from edgepress.datasets.decode import decode
from edgepress.datasets.image_files import Folder
from edgepress.datasets.image_folder import load
from edgepress.errors import DataError

SPLITS = Splits(test=0.25, validation=0.25, calibration=2)
SIZE = 8
RED = (255, 0, 0)
ORIENTATION = 0x0112


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def config(path: Path, **changes: Any) -> ImageFolder:
    values = {"size": SIZE, "channels": 3, "fit": "stretch", "skip_corrupt": False, "splits": SPLITS}
    return ImageFolder(path=str(path), source="a camera", licence="CC0", **{**values, **changes})


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def grey(level: int) -> bytes:
    return encoded(Image.new("L", (5, 7), level))


def make_folder(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def levels(dataset: Dataset) -> list[int]:
    """The grey level of each image, all of one colour."""
    x = dataset.x[np.arange(dataset.x.shape[0])]
    assert (x == x[:, :1, :1, :1]).all()
    return x[:, 0, 0, 0].tolist()  # type: ignore[no-any-return]


CLASSES = {"dog/2.png": grey(20), "cat/b.PNG": grey(11), "cat/a.png": grey(10), "ant/x.png": grey(0)}
SPLIT = {
    "train/cat/1.png": grey(1),
    "train/dog/1.png": grey(2),
    "val/cat/1.png": grey(3),
    "test/dog/1.png": grey(4),
    "test/cat/2.png": grey(5),
}
STRAY = {
    ".DS_Store": b"x",
    "cat/.hidden.png": b"x",
    "__MACOSX/cat/._a.png": b"x",
    ".git/cat/a.png": b"x",
    "readme.txt": b"x",
}


class TestPlaces:
    @pytest.mark.parametrize("make", [make_folder, make_zip])
    def test_classes_are_sorted_and_images_in_the_order_of_their_names(self, make: Any) -> None:
        dataset = load(config(make(Path("photos.zip"), CLASSES | STRAY)))
        assert dataset.class_names == ("ant", "cat", "dog")
        assert (dataset.y.tolist(), levels(dataset)) == ([0, 1, 1, 2], [0, 10, 11, 20])
        assert dataset.given == {}
        assert dataset.remarks == ("passed over 1 files that are no images: readme.txt",)
        assert (dataset.source, dataset.licence) == ("a camera", "CC0")

    @pytest.mark.parametrize("make", [make_folder, make_zip])
    @pytest.mark.parametrize("above", ["", "photos/", "a/b/"])
    def test_splits_are_kept_and_a_folder_around_everything_is_not_one(self, make: Any, above: str) -> None:
        files = {f"{above}{name}": content for name, content in SPLIT.items()}
        dataset = load(config(make(Path("photos.zip"), files)))
        by_split = {name: sorted(np.array(levels(dataset))[i]) for name, i in dataset.given.items()}
        assert by_split == {"validation": [3], "test": [4, 5]}
        assert dataset.class_names == ("cat", "dog")

    @pytest.mark.parametrize("make", [make_folder, make_zip])
    def test_without_classes_folders_mean_nothing(self, make: Any) -> None:
        files = {**CLASSES, "3.png": grey(33), "a/b/c/4.png": grey(44), "notes.txt": b"?"}
        dataset = load(config(make(Path("photos"), files), classes=False))
        assert sorted(levels(dataset)) == [0, 10, 11, 20, 33, 44]
        assert dataset.class_names == ()
        assert set(dataset.y) == {-1}
        assert dataset.remarks == ("passed over 1 files that are no images: notes.txt",)

    def test_a_linked_folder_is_followed_and_a_circle_ends(self) -> None:
        folder = make_folder(Path("photos"), {"cat/1.png": grey(1)})
        elsewhere = make_folder(Path("elsewhere"), {"1.png": grey(2)})
        (folder / "dog").symlink_to(elsewhere.resolve())
        assert levels(load(config(folder))) == [1, 2]
        (folder / "cat" / "again").symlink_to(folder.resolve())
        assert levels(load(config(folder))) == [1, 2]


REFUSED: dict[str, tuple[dict[str, bytes], str]] = {
    "no image": ({"cat/a.txt": b""}, "holds no image: none of 1 files ends in .bmp, .gif"),
    "one class": (
        {"cat/1.png": grey(0)},
        "holds one class, 'cat'; expected a folder for each of two or more",
    ),
    "loose": (CLASSES | {"z.png": grey(0)}, "holds z.png; expected every image as <class>/* or"),
    "too deep": (
        CLASSES | {"cat/x/y/z.png": grey(0)},
        "holds cat/x/y/z.png; expected every image as <class>/* or <split>/<class>/*",
    ),
    "no split": (CLASSES | {"cat/x/z.png": grey(0)}, "holds cat/x/z.png, but 'cat' is no split; expected"),
    "beside the splits": (SPLIT | {"owl/1.png": grey(0)}, "1 images in .* lie beside the splits: owl/1.png"),
    "no training": (
        {"test/a/1.png": grey(0), "val/b/1.png": grey(0)},
        "has no folder 'train', only test",
    ),
    "not in training": (SPLIT | {"test/owl/1.png": grey(0)}, "has classes without an image in 'train': owl"),
    "unlabelled": ({"train/1.png": grey(0), "test/1.png": grey(0)}, "lie in test, train without a class"),
    "empty class": (
        CLASSES | {"owl/.keep": b""},
        "1 folders in .* hold no image: owl/; expected",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_other_places_are_refused_by_name(fault: str) -> None:
    files, message = REFUSED[fault]
    with pytest.raises(DataError) as error:
        load(config(make_folder(Path("photos"), files)))
    assert re.search(message.replace("*", r"\*").replace(r".\*", ".*"), str(error.value))


@pytest.mark.parametrize("name", ["../evil.png", "cat/../../evil.png", "/etc/evil.png", "cat\\..\\e.png"])
def test_a_zip_whose_names_lead_out_of_it_is_refused(name: str) -> None:
    path = make_zip(Path("photos.zip"), CLASSES | {name: grey(0)})
    with pytest.raises(DataError, match=r"^1 names in photos\.zip lead out of it: .*expected names below"):
        load(config(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "which does not exist; expected a folder or zip"),
        (b"PK", "neither a folder nor a zip"),
    ],
)
def test_what_is_no_folder_and_no_zip_is_refused(content: bytes | None, message: str) -> None:
    if content is not None:
        Path("photos").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(config(Path("photos")))


CORRUPT = {
    "cat/text.jpg": b"I am a text",
    "dog/empty.png": b"",
    "cat/truncated.jpg": encoded(Image.effect_noise((64, 64), 90), "JPEG")[:-400],
    "dog/truncated.png": encoded(Image.effect_noise((64, 64), 90))[:-200],
}


class TestUnreadable:
    @pytest.mark.parametrize("make", [make_folder, make_zip])
    def test_all_are_named_at_once(self, make: Any) -> None:
        with pytest.raises(DataError) as error:
            load(config(make(Path("photos.zip"), CLASSES | CORRUPT)))
        message = str(error.value)
        assert message.startswith("4 of 8 images in photos.zip cannot be read: cat/text.jpg (not an image), ")
        assert "dog/empty.png (empty)" in message
        assert all(name in message for name in CORRUPT)
        assert "data.skip_corrupt=true" in message
        assert "\n" not in message

    def test_may_be_left_out_and_are_named(self) -> None:
        dataset = load(config(make_folder(Path("photos"), CLASSES | CORRUPT), skip_corrupt=True))
        assert levels(dataset) == [0, 10, 11, 20]
        (remark,) = dataset.remarks
        assert remark.startswith("left out 4 unreadable images: cat/text.jpg (not an image)")

    def test_a_class_without_any_left_is_refused(self) -> None:
        folder = make_folder(Path("photos"), CLASSES | {"owl/1.png": b"x"})
        with pytest.raises(DataError, match=r"no readable image to train on of owl: owl/1\.png \(not"):
            load(config(folder, skip_corrupt=True))

    def test_a_member_of_a_zip_that_does_not_match_its_checksum_is_named(self) -> None:
        path = make_zip(Path("photos.zip"), CLASSES)
        content = path.read_bytes()
        path.write_bytes(content.replace(grey(11), grey(11)[:-1] + b"!"))
        with pytest.raises(DataError, match=r"^1 of 4 images in photos\.zip .*cat/b\.PNG \(Bad CRC-32"):
            load(config(path))

    def test_thousands_are_counted_and_not_all_named(self) -> None:
        many = {f"cat/{n}.png": b"x" for n in range(150)}
        with pytest.raises(DataError, match=r"^150 of 154 .* and 50 more; repair"):
            load(config(make_folder(Path("photos"), CLASSES | many)))

    def test_an_image_that_would_fill_the_memory_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)
        with pytest.raises(ValueError, match="exceeds limit of 30 pixels"):
            decode(grey(0), SIZE, 1, "stretch")


def bomb(width: int, height: int, colours: int, extra: bytes = b"") -> bytes:
    """The begin of a PNG of zeros that is small as a file; 2 is RGB, 6 has transparency."""
    pixels = zlib.compress(bytes(10 * (1 + width * {0: 1, 2: 3, 6: 4}[colours])))

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colours, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


class TestHostile:
    @pytest.mark.parametrize(("width", "colours"), [(9000, 2), (6000, 6), (8000, 0)])
    def test_an_image_far_larger_than_its_file_is_refused(self, width: int, colours: int) -> None:
        with pytest.raises(ValueError, match=f"{width} × {width} pixels in a file of .* bytes, too many"):
            decode(bomb(width, width, colours), SIZE, 3, "stretch")

    def test_an_image_beyond_pillows_own_limit_is_refused(self) -> None:
        with pytest.raises(ValueError, match="exceeds limit of"):
            decode(bomb(30000, 4000, 0), SIZE, 3, "stretch")

    def test_only_images_are_taken_for_images(self) -> None:
        """Of PostScript, Pillow would start an interpreter."""
        with pytest.raises(ValueError, match="not an image"):
            decode(
                b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n", SIZE, 3, "crop"
            )

    def test_files_that_are_none_are_told_by_name(self) -> None:
        folder = make_folder(Path("photos"), CLASSES)
        os.mkfifo(folder / "cat" / "pipe.png")
        (folder / "cat" / "nowhere.png").symlink_to("absent")
        (folder / "cat" / "circle.png").symlink_to("circle.png")
        (folder / "dog" / "zero.png").symlink_to("/dev/zero")
        with pytest.raises(DataError) as error:
            load(config(folder))
        for said in (
            "pipe.png is a pipe",
            "nowhere.png (No such file",
            "circle.png (Too many levels",
            "is a device",
        ):
            assert said in str(error.value)
        assert levels(load(config(folder, skip_corrupt=True))) == [0, 10, 11, 20]

    def test_folders_that_link_to_each_other_end(self) -> None:
        folder = make_folder(Path("photos"), {"cat/1.png": grey(1), "dog/1.png": grey(2)})
        (folder / "cat" / "across").symlink_to("../dog")
        (folder / "dog" / "across").symlink_to("../cat")
        found = Folder(folder).names()
        assert sorted(name for name in found if name.endswith("png")) == [
            "cat/1.png", "cat/across/1.png", "dog/1.png", "dog/across/1.png"
        ]  # fmt: skip

    def test_links_whose_ways_multiply_are_refused(self) -> None:
        folder = Path("photos")
        for number in range(30):
            (folder / str(number)).mkdir(parents=True)
            for name in "ab":
                (folder / str(number) / name).symlink_to(f"../{number + 1}")
        with pytest.raises(DataError, match="lead to the same folder again and again"):
            load(config(folder))

    def test_an_image_that_unpacks_to_far_more_than_its_zip_is_told_by_name(self) -> None:
        path = Path("photos.zip")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in (CLASSES | {"cat/bomb.png": bytes(30 << 20)}).items():
                archive.writestr(name, content)
        with pytest.raises(
            DataError, match=r"cat/bomb\.png \(unpacks to 31,457,280 bytes; expected at most 21,"
        ):
            load(config(path))

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_names_that_are_in_a_zip_twice_are_told(self) -> None:
        path = make_zip(Path("photos.zip"), CLASSES)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("cat/a.png", grey(99))
        with pytest.raises(
            DataError, match=r"1 names are in photos\.zip more than once: cat/a\.png; expected"
        ):
            load(config(path))

    def test_names_are_shown_escaped_and_shortened(self) -> None:
        files = CLASSES | {"cat/\x1b[31m\u202e\n.png": b"x", f"dog/{'d' * 60_000}.png": b"x"}
        with pytest.raises(DataError) as error:
            load(config(make_zip(Path("photos.zip"), files)))
        assert r"cat/\x1b[31m\u202e\n.png (not an image)" in str(error.value)
        assert len(str(error.value)) < 500

    def test_a_list_of_names_out_of_proportion_is_refused(self) -> None:
        path = make_zip(Path("photos.zip"), CLASSES)
        content = bytearray(path.read_bytes())
        place = content.rfind(b"PK\5\6")
        content[place + 12 : place + 16] = struct.pack("<L", 1 << 30)
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a list of some 23,\d{3},\d{3} names in a file of .* bytes"):
            load(config(path))


@settings(max_examples=300, deadline=None)
@given(
    form=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"]),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6),
    end=st.integers(0, 2000),
)
def test_a_damaged_image_is_an_image_all_the_same_or_an_error_in_a_line(
    form: str, changes: list[tuple[int, int]], end: int
) -> None:
    content = bytearray(encoded(Image.linear_gradient("L").resize((16, 16)).convert("RGB"), form))
    for place, value in changes:
        content[place % len(content)] = value
    try:
        image = decode(bytes(content[:end]), SIZE, 3, "stretch")
    except ValueError as error:
        reason = str(error)
    else:
        assert (image.shape, image.dtype) == ((3, SIZE, SIZE), np.uint8)
        return
    assert reason
    assert "\n" not in reason


def pixel(content: bytes, channels: int = 3) -> list[int]:
    """The value of an image of one colour."""
    image = decode(content, SIZE, channels, "stretch")
    assert (image.shape, image.dtype) == ((channels, SIZE, SIZE), np.uint8)
    assert (image == image[:, :1, :1]).all()
    return image[:, 0, 0].tolist()  # type: ignore[no-any-return]


def _film() -> bytes:
    frames = [Image.new("RGB", (6, 6), colour) for colour in (RED, (0, 0, 255))]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])


def _palette() -> bytes:
    return encoded(Image.new("RGB", (6, 6), RED).quantize(4))


FORMS = {
    "RGB": (encoded(Image.new("RGB", (6, 9), RED)), RED),
    "grey": (grey(77), (77, 77, 77)),
    "bits": (encoded(Image.new("1", (6, 9), 1)), (255, 255, 255)),
    "palette": (_palette(), RED),
    "opaque": (encoded(Image.new("RGBA", (6, 6), (*RED, 255))), RED),
    "transparent": (encoded(Image.new("RGBA", (6, 6), (0, 0, 0, 0))), (255, 255, 255)),
    "transparent grey": (encoded(Image.new("LA", (6, 6), (0, 0))), (255, 255, 255)),
    "transparent colour": (encoded(Image.new("RGB", (6, 6), RED), transparency=RED), (255, 255, 255)),
    "CMYK": (encoded(Image.new("CMYK", (6, 6), (0, 255, 255, 0)), "TIFF"), RED),
    "16 bits": (encoded(Image.fromarray(np.full((6, 6), 77 * 257, np.uint16))), (77, 77, 77)),
    "16 bits in 32": (encoded(Image.fromarray(np.full((6, 6), 65535, np.int32)), "TIFF"), (255, 255, 255)),
    "film": (_film(), RED),
}


@pytest.mark.parametrize("form", FORMS)
def test_images_of_any_form_become_colours(form: str) -> None:
    content, expected = FORMS[form]
    np.testing.assert_allclose(pixel(content), expected, atol=1)


_LOSSLESS = {"WEBP": {"lossless": True}}


@pytest.mark.parametrize("form", ["JPEG", "BMP", "WEBP", "TIFF", "PPM"])
def test_other_formats(form: str) -> None:
    colour = (200, 60, 90)
    content = encoded(Image.new("RGB", (40, 30), colour), form, **_LOSSLESS.get(form, {}))
    np.testing.assert_allclose(pixel(content), colour, atol=3)


def test_a_cmyk_jpeg() -> None:
    content = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG")
    np.testing.assert_allclose(pixel(content), RED, atol=4)


@pytest.mark.parametrize(("colour", "expected"), [(RED, 76), ((255, 255, 255), 255)])
def test_colours_become_grey(colour: tuple[int, ...], expected: int) -> None:
    assert pixel(encoded(Image.new("RGB", (6, 6), colour)), channels=1) == [expected]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((6, 6), 0.5, np.float32), "floating-point pixels"),
        (np.full((6, 6), 1 << 20, np.int32), "32-bit"),
    ],
)
def test_pixels_of_which_white_is_unknown_are_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(encoded(Image.fromarray(values), "TIFF"), SIZE, 1, "stretch")


def test_at_its_own_size_an_image_is_itself() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    decoded = decode(encoded(Image.fromarray(pixels)), SIZE, 3, "stretch")
    np.testing.assert_array_equal(decoded, np.moveaxis(pixels, -1, 0))


def test_stretch_keeps_all_and_crop_keeps_the_middle() -> None:
    pixels = np.zeros((8, 24), np.uint8)
    pixels[:, 8:16] = 255
    content = encoded(Image.fromarray(pixels))
    assert (decode(content, SIZE, 1, "crop") == 255).all()
    assert (decode(content, SIZE, 1, "stretch")[0, :, 0] == 0).all()


def test_a_photograph_is_turned_as_its_exif_data_say() -> None:
    pixels = np.zeros((16, 16), np.uint8)
    pixels[:8] = 255  # white above
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # to be turned clockwise by a quarter: what was above is at the right
    upright = decode(encoded(Image.fromarray(pixels), "JPEG", exif=exif), SIZE, 1, "stretch")[0]
    assert upright[:, :3].max() < 60
    assert upright[:, -3:].min() > 200


def test_a_large_jpeg_read_at_a_fraction_of_its_size_looks_the_same() -> None:
    rows, columns = np.mgrid[0:512, 0:512]
    image = Image.fromarray((rows // 4 + columns // 4).astype(np.uint8))
    png, jpeg = (decode(encoded(image, form), SIZE, 1, "stretch") for form in ("PNG", "JPEG"))
    np.testing.assert_allclose(png.astype(int), jpeg.astype(int), atol=3)


def test_nothing_is_left_in_the_folder_of_the_prepared_data() -> None:
    dataset = load(config(make_folder(Path("set"), CLASSES)))
    assert dataset.x.shape == (4, 3, SIZE, SIZE)
    assert list(Path("data/prepared").iterdir()) == []
    shutil.rmtree("set")
    assert levels(dataset) == [0, 10, 11, 20]
