"""Files that jobs read, made here so that their lengths are known."""

from __future__ import annotations

import struct
from base64 import b64encode


def wav(seconds: int, rate: int = 1000) -> bytes:
    """Return sound of so many seconds that is nowhere the same."""
    samples = bytes((number * number // 7 + number) % 256 for number in range(seconds * rate))
    head = struct.pack("<IHHIIHH", 16, 1, 1, rate, rate, 1, 8)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + len(samples))
        + b"WAVEfmt "
        + head
        + b"data"
        + struct.pack("<I", len(samples))
        + samples
    )


def wav_uri(seconds: int) -> str:
    """Return the same inline."""
    return f"data:audio/wav;base64,{b64encode(wav(seconds)).decode()}"
