"""Width, height and bit depth of a PNG or JPEG, read from its header; the pixels are not decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

_PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\x0dIHDR"  # the first chunk is always IHDR, of 13 bytes
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type: grey, RGB, palette, grey and alpha, RGBA
_PNG_DEPTHS = (1, 2, 4, 8, 16)
_JPEG = b"\xff\xd8\xff"
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame; the three are other things
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length: TEM and RST
_SOS, _EOI = 0xDA, 0xD9


@dataclass(frozen=True, slots=True)
class Picture:
    """The facts of a picture; `bit_depth` is the bits of a pixel, all channels together."""

    width: int
    height: int
    format: Literal["png", "jpeg"]
    bit_depth: int


def read(data: bytes) -> Picture | None:
    """Return the facts of the picture in the file `data`, None when its header is not that of a PNG or a JPEG.

    Source: W3C PNG specification, 11.2.2 (IHDR); ITU-T T.81, B.1 and B.2.2 (markers, frame header).
    """
    try:
        picture = _read_png(data) if data.startswith(_PNG) else _read_jpeg(data) if data.startswith(_JPEG) else None
    except (struct.error, IndexError):  # the file ends within its header
        return None
    return picture if picture and picture.width and picture.height and picture.bit_depth else None


def _read_png(data: bytes) -> Picture | None:
    width, height, depth, colour = struct.unpack_from(">IIBB", data, len(_PNG))
    if depth not in _PNG_DEPTHS or colour not in _PNG_CHANNELS:
        return None
    return Picture(width, height, "png", depth * _PNG_CHANNELS[colour])


def _read_jpeg(data: bytes) -> Picture | None:
    """Walk the segments up to the frame header."""
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _SOF:
            precision, height, width, channels = struct.unpack_from(">BHHB", data, at + 4)
            return Picture(width, height, "jpeg", precision * channels)
        if marker in (_SOS, _EOI):
            return None
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _ALONE:
            at += 2
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None
