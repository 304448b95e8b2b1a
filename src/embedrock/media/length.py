"""How long sound and film play: by the header of WAV, MP4, MOV and 3GP, by the size of all other files.

Only headers are read, wherever in the file they are. What they say may be wrong: of a rate that is said twice the
slower one counts, and of the lengths of a film and its tracks the longest.

Sources: Multimedia Programming Interface 1.0 (RIFF), ISO/IEC 14496-12 (`mvhd`, `mdhd`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

import pybase64

from embedrock.media.data_uri import Media
from embedrock.media.s3_uri import S3Object

_BYTES_A_SECOND: Final = {"audio": 16_000, "video": 125_000}  # 128 kbit and 1 Mbit a second
_MOST_PIECES: Final = 1000  # of a file that are looked at
_HEAD_BYTES: Final = 48  # of a piece: enough for a long box with 64-bit times
_CONTAINERS: Final = (b"moov", b"trak", b"mdia")
_TIMED: Final = (b"mvhd", b"mdhd")

#: Returns so many bytes of a file from a place on; fewer at its end.
_Peek = Callable[[int, int], bytes]


def seconds(clip: Media | S3Object) -> float:
    """Return how long sound or film plays, as far as can be told without decoding it; 0 for anything else."""
    rate = _BYTES_A_SECOND.get(clip.kind or "")
    if rate is None:
        return 0.0
    found = None
    if isinstance(clip, Media):
        try:
            if clip.format == "wav":
                found = _sound(_peek_into(clip.base64), clip.size)
            elif clip.format in ("mp4", "mov", "3gp"):
                found = _film(_peek_into(clip.base64))
        except ValueError:
            pass  # what is in one of Bedrock's own bodies nobody has checked: it may be no base64
    return found or (clip.size or 0) / rate


def _peek_into(base64: str | memoryview) -> _Peek:
    def peek(at: int, size: int) -> bytes:
        piece = base64[at // 3 * 4 : -(-(at + size) // 3) * 4]
        return pybase64.b64decode(piece)[at % 3 : at % 3 + size]

    return peek


def _sound(peek: _Peek, size: int) -> float | None:
    at, rate = 12, 0
    for _ in range(_MOST_PIECES):
        head = peek(at, _HEAD_BYTES)
        if len(head) < 8:
            return None
        name, length = struct.unpack_from("<4sI", head)
        if name == b"fmt " and len(head) >= 22:
            samples, said, block = struct.unpack_from("<IIH", head, 12)
            rate = min(said, samples * block)
        elif name == b"data":
            rest = size - at - 8
            return min(length or rest, rest) / rate if rate else None
        at += 8 + length + length % 2
    return None


def _film(peek: _Peek) -> float | None:
    at, longest = 0, 0.0
    for _ in range(_MOST_PIECES):
        head = peek(at, _HEAD_BYTES)
        if len(head) < 16:
            break
        size, name = struct.unpack_from(">I4s", head)
        inside = 8
        if size == 1:
            (size,), inside = struct.unpack_from(">Q", head, 8), 16
        if name in _TIMED:
            longest = max(longest, _told(head[inside:]))
        if name not in _CONTAINERS and size < inside:
            break  # it goes on to the end of the file, or is broken
        at += inside if name in _CONTAINERS else size  # what is in a container comes next
    return longest or None


def _told(head: bytes) -> float:
    """Return what the head of a movie or its media says in seconds; 0 when it says nothing."""
    if len(head) < 32:
        return 0.0
    scale, length = struct.unpack_from(">IQ", head, 20) if head[0] == 1 else struct.unpack_from(">II", head, 12)
    unknown = length == (2**64 if head[0] == 1 else 2**32) - 1
    return 0.0 if unknown or not scale else length / scale
