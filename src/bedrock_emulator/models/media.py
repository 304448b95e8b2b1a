"""Files in requests: base64, what a file is by its first bytes, the form of objects in S3.

Nothing is decoded here; pictures are, in `pictures`. What is in a file, and how long it plays: `files`.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from .. import schema

#: An object in S3: a bucket's name by AWS's rules, then a key.
S3_URI = r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.{1,1024}"
OWNER = "[0-9]{12}"

_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"ID3", "mp3"),
    (b"OggS", "ogg"),
    (b"FLV\x01", "flv"),
    (b"\0\0\x01\xba", "mpeg"),  # a program stream, or bare video
    (b"\0\0\x01\xb3", "mpeg"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "wmv"),
)
_RIFF = {b"WEBP": "webp", b"WAVE": "wav"}
_QUICKTIME = (b"moov", b"mdat", b"wide", b"free", b"skip")  # first atoms of files older than the brand
_MATROSKA = b"\x1a\x45\xdf\xa3"


def decode(text: str) -> bytes:
    """Return the bytes in base64, of the plain alphabet and with all its padding. Raises ValueError."""
    return b64decode(text, validate=True)


def sniff(data: bytes) -> str | None:
    """Return the name of a file's format as Nova spells it, None for anything no model takes."""
    for beginning, name in _BEGINNINGS:
        if data.startswith(beginning):
            return name
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12])
    if data[4:8] == b"ftyp":
        return "mov" if data[8:12] == b"qt  " else "3gp" if data[8:10] == b"3g" else "mp4"
    if data[4:8] in _QUICKTIME:
        return "mov"
    if data.startswith(_MATROSKA):
        return "webm" if b"webm" in data[:64] else "mkv"
    # The sync word of an MPEG audio frame; the two bits that name the layer are 0 in AAC.
    return "mp3" if len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0 and data[1] & 0x06 else None


def check_object(pointer: str, value: object, *, owner: bool) -> schema.Failure | None:
    """Return what is wrong with an `s3Location`; with `owner` it may name the bucket's account."""
    if not isinstance(value, dict):
        return schema.expect_type(pointer, "JSONObject", value)
    known = ("uri", "bucketOwner") if owner else ("uri",)
    failures: list[Any] = schema.members(value, required=("uri",), known=known, pointer=pointer)
    if "uri" in value:
        failures.append(schema.matching(f"{pointer}/uri", value["uri"], S3_URI))
    if owner and "bucketOwner" in value:
        failures.append(schema.matching(f"{pointer}/bucketOwner", value["bucketOwner"], OWNER))
    return schema.group(failures)
