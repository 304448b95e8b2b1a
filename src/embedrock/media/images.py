"""Width, height and number of frames of a picture, from its headers. Nothing is decoded.

Work is bounded: a file cannot be so odd that walking it holds up other requests.
Sources: PNG (W3C), JPEG (ITU T.81), GIF89a (CompuServe), WebP container (developers.google.com).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple

from embedrock.errors import BadRequest

#: A few hundred bytes can claim any size, and whoever decodes them needs 4 bytes a pixel: here 400 MB. The models
#: shrink pictures to a few million pixels anyway.
MAX_PIXELS: Final = 100_000_000

#: Every frame of an animation costs whoever decodes it as much as a picture; the models look at one.
MAX_FRAMES: Final = 1_000

#: Segments before a JPEG's size, chunks of a WebP, frames and extensions of a GIF: metadata needs some hundreds,
#: a frame one to three.
_MAX_PARTS: Final = 5_000

#: Data of a GIF comes in blocks of at most 255 bytes: 50 MB, the largest picture Bedrock takes, are 196,000 full ones.
_MAX_GIF_BLOCKS: Final = 250_000

#: Bytes between two parts that belong to neither: decoders skip such, and real files have a few at most.
_MAX_GAP: Final = 1_024

_JPEG_MARKER: Final = re.compile(rb"\xff[^\x00\xff]")
_JPEG_FRAME_HEADERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_JPEG_ENDS: Final = frozenset({0xD9, 0xDA})  # end of the picture, start of its data: the size came before
_GIF_BLOCK: Final = re.compile(rb"[!,;]")  # extension, frame, end


class _Picture(NamedTuple):
    width: int
    height: int
    pixels: int  # width x height, or of the largest frame
    frames: int = 1


class _TooManyParts(Exception):
    """The file is cut into more pieces than any real one."""


def measure(data: bytes, format_: str, param: str) -> tuple[int, int]:
    """Return width and height in pixels of the picture `data`, a `png`, `jpeg`, `gif` or `webp`.

    Raises BadRequest `invalid_media` when its header is cut short or says nothing, `media_too_large` for more than
    `MAX_PIXELS` or `MAX_FRAMES`.
    """
    try:
        picture = _READERS[format_](data)
    except (struct.error, IndexError, ValueError):
        picture = _Picture(0, 0, 0)
    except _TooManyParts:
        raise BadRequest(
            f"'{param}' is a {format_} picture made of too many parts.", param=param, code="media_too_large"
        ) from None
    if not (picture.width and picture.height and picture.frames):
        raise BadRequest(
            f"'{param}' is no whole {format_} picture: its size cannot be read.", param=param, code="invalid_media"
        )
    if picture.pixels > MAX_PIXELS:
        raise BadRequest(
            f"'{param}' is a picture of {picture.pixels:,} pixels; at most {MAX_PIXELS:,} are read.",
            param=param,
            code="media_too_large",
        )
    if picture.frames > MAX_FRAMES:
        raise BadRequest(
            f"'{param}' is a picture of more than {MAX_FRAMES:,} frames.", param=param, code="media_too_large"
        )
    return picture.width, picture.height


def _png(data: bytes) -> _Picture:
    length, chunk, width, height = struct.unpack_from(">I4sII9x", data, 8)
    if (length, chunk) != (13, b"IHDR"):
        raise ValueError
    return _Picture(width, height, width * height)


def _jpeg(data: bytes) -> _Picture:
    at = 2
    for _ in range(_MAX_PARTS):
        found = _JPEG_MARKER.search(data, at, at + _MAX_GAP)
        if not found:
            raise ValueError
        at, marker = found.end(), data[found.end() - 1]
        if marker in _JPEG_FRAME_HEADERS:
            height, width = struct.unpack_from(">3xHH", data, at)
            return _Picture(width, height, width * height)
        if marker in _JPEG_ENDS:
            raise ValueError
        if marker not in _JPEG_WITHOUT_LENGTH:
            at += int.from_bytes(data[at : at + 2])
    raise _TooManyParts


def _gif(data: bytes) -> _Picture:
    width, height, flags = struct.unpack_from("<HHB2x", data, 6)
    frames = list(islice(_gif_frames(data, 13 + _color_table_bytes(flags)), MAX_FRAMES + 1))
    return _Picture(width, height, max([width * height, *frames]), len(frames))


def _gif_frames(data: bytes, at: int) -> Iterator[int]:
    """Yield for each frame the pixels of the screen that reaches to its far corner: decoders widen it that far.

    A file that is cut short has the frames that have begun, as viewers show it.
    """
    blocks = 0
    for _ in range(_MAX_PARTS):
        found = _GIF_BLOCK.search(data, at, at + _MAX_GAP)
        if not found or found[0] == b";":
            return
        at = found.end() + 1  # past the extension's label
        if found[0] == b",":
            if len(data) < at + 9:
                return
            left, top, width, height, flags = struct.unpack_from("<4HB", data, at - 1)
            yield (left + width) * (top + height)
            at += 9 + _color_table_bytes(flags)
        while at < len(data) and data[at]:
            at += data[at] + 1
            blocks += 1
            if blocks > _MAX_GIF_BLOCKS:
                raise _TooManyParts
        at += 1
    raise _TooManyParts


def _color_table_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _webp(data: bytes) -> _Picture:
    chunk = data[12:16]
    if chunk == b"VP8X":
        if len(data) < 30:
            raise ValueError
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return _Picture(width, height, width * height, _webp_frames(data))
    if chunk == b"VP8L":
        signature, bits = struct.unpack_from("<BI", data, 20)
        if signature != 0x2F:
            raise ValueError
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        return _Picture(width, height, width * height)
    start, width, height = struct.unpack_from("<3sHH", data, 23)
    if (chunk, start) != (b"VP8 ", b"\x9d\x01\x2a"):
        raise ValueError
    width, height = width & 0x3FFF, height & 0x3FFF  # the upper two bits say how to scale it up
    return _Picture(width, height, width * height)


def _webp_frames(data: bytes) -> int:
    """Return how many frames an extended WebP has: 1 unless it is animated."""
    at, frames = 12, 0
    for _ in range(_MAX_PARTS):
        if at + 8 > len(data):
            return max(frames, 1)
        chunk, size = struct.unpack_from("<4sI", data, at)
        frames += chunk == b"ANMF"
        at += 8 + size + size % 2
    raise _TooManyParts


_READERS: Final[Mapping[str, Callable[[bytes], _Picture]]] = {
    "png": _png,
    "jpeg": _jpeg,
    "gif": _gif,
    "webp": _webp,
}
