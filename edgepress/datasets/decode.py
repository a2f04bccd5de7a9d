"""An image file of any form → an array of fixed form; Pillow."""

import io
import warnings
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from edgepress.datasets.prepared import Array

Fit = Literal["stretch", "crop"]

_WHITE = (255, 255, 255, 255)
_DEPTH_16 = (1 << 16) - 1


def decode(content: bytes, size: int, channels: int, fit: Fit) -> Array:
    """The image (channels, size, size) uint8: upright as EXIF says, of a film the first frame.

    What is transparent lies on white, 16 bits become 8. Resized bilinearly, averaging where it shrinks.

    Raises:
        ValueError: naming in a few words what is wrong with the file.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of files that can be read all the same
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return _decoded(content, size, channels, fit)
        except Exception as error:  # a decoder that is given garbage may raise anything
            raise ValueError(_reason(error, content)) from error


def _decoded(content: bytes, size: int, channels: int, fit: Fit) -> Array:
    with Image.open(io.BytesIO(content)) as image:
        image.draft(None, (2 * size, 2 * size))  # lets large JPEG files be read at a fraction of their size
        plain = _plain(ImageOps.exif_transpose(image), "L" if channels == 1 else "RGB")
    bilinear = Image.Resampling.BILINEAR
    square = (size, size)
    fitted = plain.resize(square, bilinear) if fit == "stretch" else ImageOps.fit(plain, square, bilinear)
    pixels = np.asarray(fitted, np.uint8).reshape(size, size, channels)
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """The image in 8 bits a channel, without transparency."""
    if image.mode == "F":
        raise ValueError("floating-point pixels, of which white is unknown")
    if image.mode.startswith("I"):
        return _from_16_bits(image).convert(mode)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
    return image.convert(mode)


def _from_16_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > _DEPTH_16:
        raise ValueError(f"32-bit pixels from {values.min()} to {values.max()}; expected 16 bits")
    return Image.fromarray(np.rint(values * (255 / _DEPTH_16)).astype(np.uint8))


def _reason(error: Exception, content: bytes) -> str:
    if not content:
        return "empty"
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return " ".join(str(error).split())[:100] or type(error).__name__
