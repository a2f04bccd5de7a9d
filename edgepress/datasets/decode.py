"""An image file of any form → an array of fixed form; Pillow."""

import io
import logging
import warnings
from collections.abc import Callable
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from edgepress.datasets.prepared import Array
from edgepress.files import SPARE_BYTES
from edgepress.text import one_line

Fit = Literal["stretch", "crop"]

logging.getLogger("PIL").addHandler(logging.NullHandler())  # what is wrong is said in the error

_WHITE = (255, 255, 255, 255)
_DEPTH_16 = (1 << 16) - 1
_STRIP_ROWS = 64

_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What files with the known endings are; of others, some start programs (EPS), and all are seldom tested."""

_PIXEL_BYTES = {
    "RGB": 4,
    "1": 5,
    "L": 5,
    "P": 5,
    "I;16": 7,
    "RGBA": 8,
    "RGBX": 8,
    "CMYK": 8,
    "YCbCr": 8,
    "LA": 8,
}
_MOST_PIXEL_BYTES = 12
_TURNED_BYTES = 4
"""Of a pixel in Pillow, as it is and as it becomes; and of what is turned as EXIF says, in between."""

_ORIENTATION = 0x0112


def decode(content: bytes, size: int, channels: int, fit: Fit) -> Array:
    """The image (channels, size, size) uint8: upright as EXIF says, of a film the first frame.

    What is transparent lies on white, 16 bits become 8. Resized bilinearly, averaging where it shrinks.

    Raises:
        ValueError: naming in a few words what is wrong with the file, such as far more pixels than its bytes
            can be meant to hold.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of files that can be read all the same
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return _decoded(content, size, channels, fit)
        except MemoryError:
            raise
        except Exception as error:  # a decoder that is given garbage may raise anything
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ValueError(_reason(error, content)) from error


def _decoded(content: bytes, size: int, channels: int, fit: Fit) -> Array:
    with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
        image.draft(None, (2 * size, 2 * size))  # lets large JPEG files be read at a fraction of their size
        _require_proportion(image, len(content))
        ImageOps.exif_transpose(image, in_place=True)
        plain = _plain(image, "L" if channels == 1 else "RGB")
    bilinear = Image.Resampling.BILINEAR
    square = (size, size)
    fitted = plain.resize(square, bilinear) if fit == "stretch" else ImageOps.fit(plain, square, bilinear)
    pixels = np.asarray(fitted, np.uint8).reshape(size, size, channels)
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))


def _require_proportion(image: Image.Image, size: int) -> None:
    """Refuse an image that would take far more memory than its file's size can explain."""
    turned = image.getexif().get(_ORIENTATION, 1) != 1
    each = _PIXEL_BYTES.get(image.mode, _MOST_PIXEL_BYTES) + _TURNED_BYTES * turned
    if image.width * image.height * each > SPARE_BYTES + size:
        raise ValueError(
            f"{image.width} × {image.height} pixels in a file of {size:,} bytes, too many to be meant"
        )


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """The image in 8 bits a channel, without transparency."""
    if image.mode == "F":
        raise ValueError("floating-point pixels, of which white is unknown")
    if image.mode.startswith("I"):
        return _from_16_bits(image).convert(mode)
    if image.has_transparency_data:
        return _by_strips(image, mode, _on_white)
    return image if image.mode == mode else image.convert(mode)


def _by_strips(image: Image.Image, mode: str, change: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """What `change` makes of the image, a few rows at a time, so that its steps take little memory."""
    image.load()
    changed = Image.new(mode, image.size)
    for top in range(0, image.height, _STRIP_ROWS):
        strip = image.crop((0, top, image.width, min(top + _STRIP_ROWS, image.height)))
        changed.paste(change(strip).convert(mode), (0, top))
    return changed


def _on_white(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)


def _from_16_bits(image: Image.Image) -> Image.Image:
    low, high = (int(bound) for bound in image.getextrema())  # type: ignore[union-attr, arg-type, misc]
    if low < 0 or high > _DEPTH_16:
        raise ValueError(f"32-bit pixels from {low} to {high}; expected 16 bits")
    return _by_strips(image, "L", _from_16_bits_strip)


def _from_16_bits_strip(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    return Image.fromarray(np.rint(values * (255 / _DEPTH_16)).astype(np.uint8))


def _reason(error: Exception, content: bytes) -> str:
    if not content:
        return "empty"
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return one_line(error, 100) or type(error).__name__
