"""Pictures for tests, drawn rather than stored."""

from __future__ import annotations

import struct
from base64 import b64encode
from io import BytesIO
from typing import Any, Literal
from zlib import crc32

import numpy as np
from PIL import Image, ImageDraw


def shape(kind: Literal["circle", "square"], colour: str, *, radius: int = 60, on: str = "white") -> Image.Image:
    """Return a filled shape in the middle of 200 x 200 pixels."""
    image = Image.new("RGB", (200, 200), on)
    draw = ImageDraw.Draw(image)
    box = (100 - radius, 100 - radius, 100 + radius, 100 + radius)
    (draw.ellipse if kind == "circle" else draw.rectangle)(box, fill=colour)
    return image


def plain(colour: str) -> Image.Image:
    """Return 64 x 64 pixels of one colour."""
    return Image.new("RGB", (64, 64), colour)


def scene(seed: int, *, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Return soft patches of a few colours under a little noise: as close to a photograph as random numbers get."""
    rng = np.random.default_rng(seed)
    patches = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    noisy = np.asarray(patches).astype(np.int16) + rng.integers(-12, 13, (size[1], size[0], 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def page(seed: int) -> Image.Image:
    """Return a page of black lines."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (425, 550), "white")
    draw = ImageDraw.Draw(image)
    for top in range(30, 520, 11):
        if rng.random() < 0.8:
            draw.rectangle((30, top, 30 + int(rng.integers(100, 365)), top + 4), fill="black")
    return image


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return a picture as a file."""
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def base64(data: bytes) -> str:
    """Return bytes in base64."""
    return b64encode(data).decode()


def uri(data: bytes, kind: str = "png") -> str:
    """Return a file as a data URI."""
    return f"data:image/{kind};base64,{base64(data)}"


def png_header(width: int, height: int) -> bytes:
    """Return an RGB PNG of any size that fits 32 bits, whose pixels are missing."""
    header = struct.pack(">4sIIBBBBB", b"IHDR", width, height, 8, 2, 0, 0, 0)
    pixels = struct.pack(">I4sI", 0, b"IDAT", crc32(b"IDAT"))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", crc32(header)) + pixels


def wav(seconds: float, *, rate: int = 8000) -> bytes:
    """Return silence of 16 bits, one channel."""
    size = round(seconds * rate) * 2
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", size
    ) + bytes(size)


RED = encode(shape("circle", "red"))
BLUE = encode(shape("square", "blue"))
MP4 = b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41" + bytes(range(64))


def mp4(
    seconds: float, *, version: int = 0, brand: bytes = b"isom", content: bytes = b"", at_end: bool = False
) -> bytes:
    """Return what is looked at of an MP4: its brand, its length, and some content."""
    scale = 1000
    length = round(seconds * scale)
    times = struct.pack(">QQIQ", 0, 0, scale, length) if version else struct.pack(">IIII", 0, 0, scale, length)
    mvhd = _atom(b"mvhd", bytes((version, 0, 0, 0)) + times + bytes(80))
    parts = [_atom(b"moov", _atom(b"free", b"x") + mvhd), _atom(b"mdat", content)]
    return _atom(b"ftyp", brand + bytes(4) + brand) + b"".join(reversed(parts) if at_end else parts)


def _atom(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content
