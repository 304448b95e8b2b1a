"""How long files play: by their headers, else by their sizes."""

from __future__ import annotations

import struct

import pytest

from bedrock_emulator.models.files import File, known_seconds, seconds

from .drawing import mp4, wav


@pytest.mark.parametrize("kind", ["mp4", "mov", "3gp"])
@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("at_end", [False, True])
def test_an_mp4_says_how_long_it_plays(kind: str, version: int, at_end: bool) -> None:
    file = File.of(mp4(61.5, version=version, content=bytes(1000), at_end=at_end))

    assert known_seconds(file, kind) == 61.5


def test_an_atom_may_have_a_long_size() -> None:
    data = mp4(2.0)
    long = struct.pack(">I4sQ", 1, b"wide", 16 + 5) + b"12345"

    assert known_seconds(File.of(long + data), "mp4") == 2.0


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(mp4(2.0)[:40], id="cut off"),
        pytest.param(struct.pack(">I4s", 0, b"mdat") + mp4(2.0), id="an atom until the end"),
        pytest.param(mp4(2.0).replace(b"mvhd", b"none"), id="without mvhd"),
        pytest.param(mp4(2.0).replace(struct.pack(">I", 1000), bytes(4)), id="without a scale"),
    ],
)
def test_a_header_that_says_nothing_is_not_guessed_at(data: bytes) -> None:
    assert known_seconds(File.of(data), "mp4") is None


@pytest.mark.parametrize(
    ("data", "kind", "medium", "expected"),
    [
        (wav(12.5), "wav", "audio", 12.5),
        (mp4(7.0), "mp4", "video", 7.0),
        (bytes(160_000), "mp3", "audio", 10.0),
        (bytes(1_250_000), "webm", "video", 10.0),
        (bytes(10), "ogg", "audio", 1.0),
    ],
)
def test_without_a_header_the_size_decides(data: bytes, kind: str, medium: str, expected: float) -> None:
    assert seconds(File.of(data), kind, medium) == expected
