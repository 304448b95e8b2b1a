"""What files are by their first bytes, and how long a WAV plays."""

from __future__ import annotations

import struct

import pytest

from bedrock_emulator.models.files import File, known_seconds
from bedrock_emulator.models.media import check_object, decode, sniff

from .drawing import MP4, encode, plain, wav


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (encode(plain("red")), "png"),
        (encode(plain("red"), "JPEG"), "jpeg"),
        (encode(plain("red"), "GIF"), "gif"),
        (encode(plain("red"), "WEBP"), "webp"),
        (b"ID3\x04\0\0", "mp3"),
        (b"\xff\xfb\x90\x64", "mp3"),
        (b"\xff\xf3\x40\xc0", "mp3"),
        (wav(0.1), "wav"),
        (b"OggS\0\x02", "ogg"),
        (MP4, "mp4"),
        (b"\0\0\0\x14ftypqt  ", "mov"),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "mov"),
        (b"\0\0\0\x14ftyp3gp5", "3gp"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x88matroska", "mkv"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm", "webm"),
        (b"FLV\x01\x05", "flv"),
        (b"\0\0\x01\xba\x44", "mpeg"),
        (b"\0\0\x01\xb3\x14", "mpeg"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9", "wmv"),
        (b"\xff\xf1\x50\x80", None),  # AAC
        (b"%PDF-1.7", None),
        (b"RIFF\0\0\0\0AVI ", None),
        (b"<svg/>", None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_a_file_is_known_by_its_beginning(data: bytes, name: str | None) -> None:
    assert sniff(data) == name


def wav_seconds(data: bytes) -> float | None:
    return known_seconds(File.of(data), "wav")


@pytest.mark.parametrize("seconds", [0.5, 30.0, 31.25])
def test_a_wav_says_how_long_it_plays(seconds: float) -> None:
    assert wav_seconds(wav(seconds)) == pytest.approx(seconds)


def test_other_chunks_of_a_wav_are_passed_over() -> None:
    data = wav(2.0)
    odd = struct.pack("<4sI", b"LIST", 3) + b"abc\0"

    assert wav_seconds(data[:12] + odd + data[12:]) == pytest.approx(2.0)


@pytest.mark.parametrize(
    "data",
    [b"", b"RIFF", wav(1.0)[:30], wav(1.0)[:12], wav(1.0)[:12] + wav(1.0)[36:], b"RIFF\0\0\0\0WAVEfmt \0\0\0\0" * 3],
)
def test_a_wav_that_does_not_say_is_taken_as_it_is(data: bytes) -> None:
    assert wav_seconds(data) is None


def test_a_length_written_before_it_was_known_is_the_bytes_that_are_there() -> None:
    data = wav(1.0)

    assert wav_seconds(data.replace(b"data" + struct.pack("<I", 16_000), b"data\xff\xff\xff\xff")) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "text", ["iVBOR*w0", "iVBORw0", "iVBO Rw0=", "iVBO\nRw0=", "-_8=", "東京", "data:image/png;base64,iVBORw0="]
)
def test_base64_is_read_strictly(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(text)


@pytest.mark.parametrize(
    ("value", "owner", "text"),
    [
        ({"uri": "s3://media/a/b.png"}, False, None),
        ({"uri": "s3://my.bucket-1/k", "bucketOwner": "123456789012"}, True, None),
        ("s3://media/a", True, "expected type: JSONObject, found: String"),
        ({}, True, "required key [uri] not found"),
        (
            {"uri": "s3://media/a", "bucketOwner": "123456789012"},
            False,
            "extraneous key [bucketOwner] is not permitted",
        ),
        ({"uri": "s3://media/a", "bucketOwner": "1234"}, True, "string [1234] does not match pattern [0-9]{12}"),
        ({"uri": "s3://media/a", "bucketOwner": 123456789012}, True, "expected type: String, found: Long"),
    ],
)
def test_an_object_in_s3_has_a_uri_and_perhaps_an_owner(value: object, owner: bool, text: str | None) -> None:
    failure = check_object("#/s3Location", value, owner=owner)

    assert (failure[1] if failure else None) == text


@pytest.mark.parametrize(
    "uri", ["", "s3://", "s3://bucket", "s3://bucket/", "s3://B/key", "https://bucket/key", "s3:/b/k"]
)
def test_what_is_no_uri_of_an_object_is_refused(uri: str) -> None:
    failure = check_object("#", {"uri": uri}, owner=False)

    assert failure
    assert str(failure[1]).startswith(f"string [{uri}] does not match pattern s3://")
