"""Files that models read, in requests or in S3, without having them in memory; and how long they play.

The length of WAV, MP4, MOV and 3GP is in a header near the front or the end. Of other formats it is taken from the
size, at a rate that is common for them, where there has to be one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from typing import BinaryIO, TypeAlias

from ..errors import AwsError, validation

_BYTES_A_SECOND = {"audio": 16_000, "video": 125_000}  # 128 kbit and 1 Mbit a second
_MOST_ATOMS = 1000
_BEGINNING = 64  # bytes that tell a format


@dataclass(frozen=True, slots=True)
class File:
    """`sha256`: in hex, of all of it. `open` may be called again and again."""

    size: int
    sha256: str
    open: Callable[[], BinaryIO]

    @classmethod
    def of(cls, data: bytes) -> File:
        """Return a file that is in memory."""
        return cls(len(data), sha256(data).hexdigest(), lambda: BytesIO(data))

    def read(self, most: int = -1) -> bytes:
        """Return all of it, or how it begins."""
        with self.open() as file:
            return file.read(most)

    def beginning(self) -> bytes:
        """Return the first bytes."""
        return self.read(_BEGINNING)


#: Gives the file behind a URI of S3 to whoever expects that bucket owner (None: does not say). Raises AwsError.
Objects: TypeAlias = Callable[[str, str | None], File]


def missing_bucket() -> AwsError:
    """Return the 400 for a bucket that is not there. Uncertain: the text."""
    return validation("The provided S3 bucket does not exist or cannot be read.")


def among(objects: Mapping[str, bytes]) -> Objects:
    """Return a way to the objects of a table."""

    def find(uri: str, owner: str | None) -> File:  # noqa: ARG001  # nobody owns them
        if uri not in objects:
            raise missing_bucket()
        return File.of(objects[uri])

    return find


def known_seconds(file: File, kind: str) -> float | None:
    """Return how long a file of a format plays by its header, None when that does not say or is not understood."""
    with file.open() as data:
        if kind == "wav":
            return _wav_seconds(data, file.size)
        return _mp4_seconds(data) if kind in ("mp4", "mov", "3gp", "three_gp") else None


def seconds(file: File, kind: str, medium: str) -> float:
    """Return how long a file plays, by its size if need be; at least a second then. `medium`: audio or video."""
    known = known_seconds(file, kind)
    return known if known else max(1.0, round(file.size / _BYTES_A_SECOND[medium], 2))


def _wav_seconds(data: BinaryIO, size: int) -> float | None:
    at, rate = 12, 0
    for _ in range(_MOST_ATOMS):
        data.seek(at)
        head = data.read(24)
        if len(head) < 16 and at + 16 > size:
            return None
        name, length = struct.unpack_from("<4sI", head)
        if name == b"fmt ":
            (rate,) = struct.unpack_from("<I", head, 16) if len(head) >= 20 else (0,)
        elif name == b"data":
            return min(length, size - at - 8) / rate if rate else None
        at += 8 + length + length % 2
    return None


def _mp4_seconds(data: BinaryIO) -> float | None:
    for name, start, end in _atoms(data, 0, None):
        if name == b"moov":
            for inner, at, _ in _atoms(data, start, end):
                if inner == b"mvhd":
                    data.seek(at)
                    return _mvhd_seconds(data.read(32))
    return None


def _atoms(data: BinaryIO, start: int, end: int | None) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of what is in each atom."""
    for _ in range(_MOST_ATOMS):
        if end is not None and start >= end:
            return
        data.seek(start)
        head = data.read(16)
        if len(head) < 8:
            return
        size, name = struct.unpack_from(">I4s", head)
        inside = 8
        if size == 1 and len(head) == 16:
            (size,), inside = struct.unpack_from(">Q", head, 8), 16
        if size < inside:  # 0: until the end of the file, where nothing of interest follows
            return
        yield name, start + inside, start + size
        start += size


def _mvhd_seconds(head: bytes) -> float | None:
    if len(head) < 32:
        return None
    scale, length = struct.unpack_from(">IQ", head, 20) if head[0] == 1 else struct.unpack_from(">II", head, 12)
    return length / scale if scale and length else None
