"""How long sound and film play, by their headers wherever those are, or by their size."""

from __future__ import annotations

import struct

import pytest
from tests.job_files import wav
from tests.media.samples import read

from embedrock.media import LongUri, Media, S3Object, clip_seconds, read_data_uri


def box(name: bytes, body: bytes = b"", *, long: bool = False) -> bytes:
    if long:
        return struct.pack(">I4sQ", 1, name, len(body) + 16) + body
    return struct.pack(">I4s", len(body) + 8, name) + body


def times(name: bytes, scale: int, length: int, *, version: int = 0) -> bytes:
    """Return a box of times: of a movie, or of one of its tracks."""
    head = bytes([version, 0, 0, 0])
    if version:
        return box(name, head + struct.pack(">QQIQ", 0, 0, scale, length) + bytes(80))
    return box(name, head + struct.pack(">IIII", 0, 0, scale, length) + bytes(80))


def film(*moov: bytes, first: bytes = b"", long: bool = False) -> bytes:
    return box(b"ftyp", b"isom\0\0\2\0isommp42") + first + box(b"moov", b"".join(moov), long=long)


MOVIE = times(b"mvhd", 600, 4500)  # 7.5 seconds
TRACK = box(b"trak", box(b"tkhd", bytes(84)) + box(b"mdia", times(b"mdhd", 1000, 9250) + box(b"minf")))


@pytest.mark.parametrize(
    ("data", "length"),
    [
        (film(MOVIE), 7.5),
        (film(MOVIE, first=box(b"mdat", bytes(100_001))), 7.5),
        (film(MOVIE, first=box(b"mdat", bytes(100), long=True), long=True), 7.5),
        (film(times(b"mvhd", 600, 4500, version=1)), 7.5),
        (film(MOVIE, TRACK), 9.25),
        (film(times(b"mvhd", 600, 0), TRACK), 9.25),
    ],
    ids=["movie", "behind", "long boxes", "64 bits", "track", "only track"],
)
def test_a_film_plays_as_long_as_its_header_or_the_longest_track_says(data: bytes, length: float) -> None:
    assert clip_seconds(read("video/mp4", data)) == length


@pytest.mark.parametrize(
    "data",
    [
        film(),
        film(times(b"mvhd", 0, 4500)),
        film(times(b"mvhd", 600, 2**32 - 1)),
        film(MOVIE[:30]),
        film(first=b"\0\0\0\0mdat" + bytes(50)),
        film(*[box(b"trak")] * 2000, MOVIE),
    ],
    ids=["no times", "no scale", "unknown", "cut", "to the end", "endless"],
)
def test_a_film_that_does_not_say_plays_as_long_as_its_size_tells(data: bytes) -> None:
    assert clip_seconds(read("video/mp4", data)) == len(data) / 125_000


def test_sound_plays_as_long_as_its_bytes_last_at_its_rate() -> None:
    assert clip_seconds(read("audio/wav", wav(5))) == 5.0


def test_of_two_rates_the_slower_one_counts() -> None:
    data = bytearray(wav(5))
    data[28:32] = struct.pack("<I", 1_000_000)  # bytes a second; the samples still say 1000

    assert clip_seconds(read("audio/wav", bytes(data))) == 5.0


@pytest.mark.parametrize("said", [0, 2**32 - 1], ids=["nothing", "endless"])
def test_sound_that_was_streamed_plays_to_the_end_of_the_file(said: int) -> None:
    data = bytearray(wav(3))
    data[40:44] = struct.pack("<I", said)

    assert clip_seconds(read("audio/wav", bytes(data))) == 3.0


@pytest.mark.parametrize("cut", [12, 20, 36, 43])
def test_sound_whose_header_is_cut_plays_as_long_as_its_size_tells(cut: int) -> None:
    assert clip_seconds(read("audio/wav", wav(3)[:cut])) == cut / 16_000


def test_other_formats_play_as_long_as_their_size_tells() -> None:
    assert clip_seconds(read("audio/mpeg", b"ID3" + bytes(31_997))) == 2.0
    assert clip_seconds(S3Object("s3://bucket/a.mp4", "video", "mp4", 250_000)) == 2.0
    assert clip_seconds(S3Object("s3://bucket/a.png", "image", "png", 250_000)) == 0.0
    assert clip_seconds(S3Object("s3://bucket/a.mp4", "video", "mp4")) == 0.0


def test_a_long_uri_is_read_where_its_header_is() -> None:
    medium = read("video/mp4", film(MOVIE, first=box(b"mdat", bytes(100_001))))
    view = memoryview(str(medium.base64).encode())

    assert clip_seconds(read_data_uri(LongUri("data:video/mp4;base64,", view), "input")) == 7.5


def test_what_is_no_base64_plays_as_long_as_its_size_tells() -> None:
    assert clip_seconds(Media("audio", "wav", "A" * 4001, 3000, None, None)) == 3000 / 16_000
    assert clip_seconds(Media("video", "mp4", "ä" * 4000, 3000, None, None)) == 3000 / 125_000
