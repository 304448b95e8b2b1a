"""Tiny real files, made here: by Pillow and `wave` where these can, by hand where they cannot."""

from __future__ import annotations

import base64
import io
import struct
import wave
from collections.abc import Mapping

import pytest
from PIL import Image

from embedrock.errors import BadRequest
from embedrock.media import Media, read_data_uri

PARAM = "input[3]"


def short(value: object) -> str:
    """Return a name for a test that has `value`: some are megabytes."""
    return ascii(value)[:40]


def data_uri(type_: str, data: bytes) -> str:
    return f"data:{type_};base64,{base64.b64encode(data).decode()}"


def read(type_: str, data: bytes) -> Media:
    return read_data_uri(data_uri(type_, data), PARAM)


def refusal(text: str) -> BadRequest:
    """Return the error that `text` raises, after looking that it names the parameter and shows no content."""
    with pytest.raises(BadRequest) as caught:
        read_data_uri(text, PARAM)
    error = caught.value
    assert (error.status, error.param) == (400, PARAM)
    assert PARAM in error.message
    payload = text.rpartition(",")[2]
    assert len(payload) < 8 or payload[:8] not in error.explained()
    return error


def picture(format_: str, width: int = 3, height: int = 2, *, mode: str = "RGB", frames: int = 1) -> bytes:
    """Return a picture as Pillow writes it; frames differ, or it would join them."""
    out = io.BytesIO()
    images = [Image.new(mode, (width, height), (n % 256, n // 256, 99)) for n in range(frames)]
    options: dict[str, object] = {"save_all": True, "append_images": images[1:]} if frames > 1 else {}
    images[0].save(out, format_, **options)
    return out.getvalue()


def png_header(width: int, height: int) -> bytes:
    header = struct.pack(">I4sIIBBBBB", 13, b"IHDR", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + header + b"\x00\x00\x00\x00"


def sound() -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\x00\x01" * 80)
    return out.getvalue()


def iso(*brands: bytes) -> bytes:
    """Return the beginning of an ISO base media file: the major brand, a version, the compatible ones."""
    body = b"ftyp" + brands[0] + b"\x00\x00\x02\x00" + b"".join(brands[1:])
    return (len(body) + 4).to_bytes(4) + body + b"\x00\x00\x00\x08free"


def ebml(doctype: bytes) -> bytes:
    """Return the header of a Matroska or WebM file as ffmpeg writes it."""
    elements = b"\x42\x86\x81\x01\x42\xf7\x81\x01\x42\xf2\x81\x04\x42\xf3\x81\x08"
    elements += b"\x42\x82" + bytes([0x80 | len(doctype)]) + doctype + b"\x42\x87\x81\x04\x42\x85\x81\x02"
    return b"\x1aE\xdf\xa3" + bytes([0x80 | len(elements)]) + elements + b"\x18\x53\x80\x67"


_TRANSPORT_STREAM = (b"G\x40\x00\x10" + b"\xff" * 184) * 3
_PROGRAM_STREAM = b"\x00\x00\x01\xba\x44\x00\x04\x00\x04\x01\x00\x00\x03\xf8"

#: One file or more of each format, by Bedrock's name for it.
FILES: Mapping[str, list[bytes]] = {
    "png": [picture("png"), picture("png", 1, 1)],
    "jpeg": [picture("jpeg"), picture("jpeg", 1, 1)],
    "gif": [picture("gif"), picture("gif", frames=3), b"GIF87a" + picture("gif")[6:]],
    "webp": [picture("webp"), picture("webp", 1, 1)],
    "mp3": [b"ID3\x04\x00\x00\x00\x00\x00\x00", b"\xff\xfb\x90\x64" + bytes(413), b"\xff\xf3\x18\xc4"],
    "wav": [sound()],
    "ogg": [b"OggS\x00\x02" + bytes(20)],
    "mp4": [iso(b"isom", b"isom", b"iso2", b"avc1", b"mp41"), iso(b"mp42"), iso(b"XAVC", b"mp42"), iso(b"M4V ")],
    "mov": [iso(b"qt  ", b"qt  "), iso(b"qt  ", bytes(4), bytes(4)), b"\x00\x00\x00\x08wide\x00\x00\x01\x00mdat"],
    "mkv": [ebml(b"matroska")],
    "webm": [ebml(b"webm")],
    "flv": [b"FLV\x01\x05\x00\x00\x00\x09"],
    "mpeg": [_PROGRAM_STREAM, b"\x00\x00\x01\xbb\x00\x09", b"\x00\x00\x01\xb3\x14\x00\xf0", _TRANSPORT_STREAM],
    "mpg": [_PROGRAM_STREAM],
    "wmv": [bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(8)],
    "3gp": [iso(b"3gp4", b"isom", b"3gp4"), iso(b"3gp5")],
}

#: What is no media at all, or none that a model reads, by the name a refusal gives it.
OTHERS: Mapping[str, bytes] = {
    "zip": b"PK\x03\x04\x14\x00" + bytes(24),
    "elf": b"\x7fELF\x02\x01\x01" + bytes(9),
    "html": b"\n <!DOCTYPE html><html><script>alert(1)</script></html>",
    "xml": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "pdf": b"%PDF-1.7\n",
    "bmp": picture("bmp"),
    "tiff": picture("tiff"),
    "avi": b"RIFF\x00\x00\x00\x00AVI LIST",
    "flac": b"fLaC\x00\x00\x00\x22",
    "heic": iso(b"heic", b"mif1", b"heic"),
    "avif": iso(b"avif", b"mif1", b"miaf"),
    "m4a": iso(b"M4A ", b"mp42", b"isom"),
}

#: Bytes that say nothing.
UNKNOWN = [
    b"hello, world", b"\x00", b"\x00" * 400, b"\xff\xfe<\x00s\x00", b"RIFF\x04\x00", b"\x1aE\xdf\xa3\x80", b"G" * 40,
    b"G" + b"x" * 400, b"\x00\x00\x00\x08ftyp", b"%PNG\r\n\x1a\n",
]  # fmt: skip
