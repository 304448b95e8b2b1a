"""What bytes are, by how they begin.

Sources: the formats' own specifications; for MP4 and its kin the brands registered at mp4ra.org.
"""

from __future__ import annotations

import re
from typing import Final

#: What ISO base media files may be when their brand is one that several writers use, or one nobody knows.
_ANY_ISO: Final = ("mp4", "mov", "3gp")

_ISO: Final = re.compile(rb".{4}ftyp.{4}", re.DOTALL)
_ISO_BRANDS: Final = (
    (re.compile(rb"qt  "), ("mov",)),
    (re.compile(rb"3g[2a-z]"), ("3gp",)),
    (re.compile(rb"hei[cxms]|hev[cx]|mif1|msf1"), ("heic",)),
    (re.compile(rb"avi[fs]"), ("avif",)),
    (re.compile(rb"M4[ABP] "), ("m4a",)),
)
_ISO_HEADER_BYTES: Final = 512  # real ones have a handful of brands, four bytes each

_BEGINNINGS: Final = tuple(
    (re.compile(pattern, re.DOTALL), formats)
    for pattern, formats in (
        (rb"\x89PNG\r\n\x1a\n", ("png",)),
        (rb"\xff\xd8\xff", ("jpeg",)),
        (rb"GIF8[79]a", ("gif",)),
        (rb"RIFF.{4}WEBP", ("webp",)),
        # A tag, or the header of a frame: layer III of MPEG 1, 2 or 2.5, and a bit rate that exists.
        (rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb][^\xf0-\xff]", ("mp3",)),
        (rb"RIFF.{4}WAVE", ("wav",)),
        (rb"OggS", ("ogg",)),
        # QuickTime before it had brands.
        (rb".{4}(?:moov|mdat|wide|free|skip|pnot)", ("mov", "mp4")),
        # EBML: element 4282 is the document's type, near the front of the header.
        (rb"\x1aE\xdf\xa3.{0,100}?\x42\x82.{1,8}?webm", ("webm",)),
        (rb"\x1aE\xdf\xa3.{0,100}?\x42\x82.{1,8}?matroska", ("mkv",)),
        (rb"FLV\x01", ("flv",)),
        # Program stream, its system header, or bare video; or a transport stream: "G" every 188 bytes.
        (rb"\x00\x00\x01[\xba\xbb\xb3]|G.{187}G", ("mpeg", "mpg")),
        (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c", ("wmv",)),
        # What no model reads, so that a refusal can name it.
        (rb"PK\x03\x04", ("zip",)),
        (rb"%PDF-", ("pdf",)),
        (rb"\x7fELF", ("elf",)),
        (rb"\s{0,64}<(?i:!doctype html|html|head|body|script)\b", ("html",)),
        (rb"\s{0,64}<(?i:\?xml|svg)\b", ("xml",)),
        (rb"BM.{4}\x00\x00\x00\x00", ("bmp",)),
        (rb"II\*\x00|MM\x00\*", ("tiff",)),
        (rb"RIFF.{4}AVI ", ("avi",)),
        (rb"fLaC", ("flac",)),
    )
)


def sniff(data: bytes) -> tuple[str, ...]:
    """Return the formats `data` can be, the likeliest first; nothing when its beginning is unknown.

    Names are those of `FORMATS`, and a few more for what no model reads (`zip`, `html`, …).
    """
    if _ISO.match(data):
        return _iso(data)
    return next((formats for beginning, formats in _BEGINNINGS if beginning.match(data)), ())


def _iso(data: bytes) -> tuple[str, ...]:
    """Return what the brands of an ISO base media file say; doubt is left to the caller's word."""
    end = min(int.from_bytes(data[:4]), _ISO_HEADER_BYTES)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, end, 4) if any(data[at : at + 4]))]
    says = [next((formats for brand, formats in _ISO_BRANDS if brand.match(each)), _ANY_ISO) for each in brands]
    if not set(says[0]) & set(_ANY_ISO):
        return says[0]  # pictures and music: their compatible brands are those of mp4 as well
    return tuple(dict.fromkeys(name for formats in says for name in formats if name in _ANY_ISO))
