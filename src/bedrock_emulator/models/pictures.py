"""Pictures, decoded: a small copy to look at, and the facts that answers and refusals name.

Only PNG, JPEG, GIF and WebP, each by its own decoder; of an animation the first frame. Files are not trusted: their
size is known before a pixel is decoded, and whatever a decoder trips over means a bad picture.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import GifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from .media import sniff

SIDE = 32  # of the small copy, in pixels
MAX_PIXELS = 50_000_000  # ours, so that a bomb is some hundred megabytes at most; few models document a limit
ALL = ("png", "jpeg", "gif", "webp")

# Not Image.open, whose guard against bombs is a limit of the whole process, and at first only a warning. The decoders
# of GIF and WebP have it too.
_DECODERS: dict[str, Callable[[BytesIO], ImageFile.ImageFile]] = {
    "png": PngImagePlugin.PngImageFile,
    "jpeg": JpegImagePlugin.JpegImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
}
_BITS = {"1": 1, "L": 8, "P": 8, "LA": 16, "PA": 16, "I;16": 16, "RGB": 24, "YCbCr": 24, "RGBA": 32, "CMYK": 32}
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
# What decoders raise for broken files: documented errors and the slips of parsers. Warnings, where they are errors.
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError, UserWarning, struct.error)


class BadPictureError(ValueError):
    """A file that is no picture a model could look at; the text says why."""


class TooLargeError(BadPictureError):
    """A picture of too many pixels."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture. `bit_depth`: bits a pixel as decoded, all channels together; `small`: (32, 32, 3), RGB."""

    width: int
    height: int
    format: str
    bit_depth: int
    data: bytes
    small: NDArray[np.uint8]

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height


def read(data: bytes, formats: Collection[str] = ALL, *, most: tuple[int, int] | None = None) -> Picture:
    """Return the picture in the file `data`; `most` is the largest width and height. Raises BadPictureError."""
    kind = sniff(data)
    if kind is None or kind not in formats:
        raise BadPictureError(f"The image is none of {', '.join(formats)}.")
    try:
        with _DECODERS[kind](BytesIO(data)) as image:
            width, height = image.size
            if width * height > MAX_PIXELS or (most and (width > most[0] or height > most[1])):
                raise TooLargeError(f"The image has {width} x {height} pixels.")
            bit_depth = _BITS.get(image.mode, 24)
            return Picture(width, height, kind, bit_depth, data, _small(image))
    except BadPictureError:
        raise
    except _BOMB as error:
        raise TooLargeError("The image has too many pixels.") from error
    except _BROKEN as error:
        raise BadPictureError("The image cannot be decoded.") from error


def _small(image: ImageFile.ImageFile) -> NDArray[np.uint8]:
    """Return the picture at 32 x 32 on white, each pixel the mean of what it stands for."""
    image.draft(None, (4 * SIDE, 4 * SIDE))  # a large JPEG at an eighth of its size, say, in a fraction of the time
    whole: Image.Image = image
    if image.mode == "I;16":  # which `convert` would clip
        whole = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    mode = "RGBA" if image.has_transparency_data else "RGB"
    if whole.mode != mode:
        whole = whole.convert(mode)
    small = whole.resize((SIDE, SIDE), Image.Resampling.BOX)
    if mode == "RGBA":
        small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small).convert("RGB")
    return np.asarray(small)
