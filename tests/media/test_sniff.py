"""What bytes are taken for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedrock.media.formats import FORMATS
from embedrock.media.sniff import sniff

from .samples import FILES, OTHERS, UNKNOWN, ebml, iso, short

SAME_BYTES = {"mpg": "mpeg"}


@pytest.mark.parametrize(("name", "data"), [(name, data) for name, files in FILES.items() for data in files], ids=short)
def test_file_is_what_it_is_and_nothing_of_another_container(name: str, data: bytes) -> None:
    found = sniff(data)

    assert name in found
    assert {FORMATS[other].kind for other in found} == {FORMATS[name].kind}
    assert set(found) <= {"mp4", "mov", "3gp"} or found[0] == SAME_BYTES.get(name, name)


@pytest.mark.parametrize(("name", "data"), list(OTHERS.items()), ids=short)
def test_what_no_model_reads_has_a_name_too(name: str, data: bytes) -> None:
    assert sniff(data) == (name,)
    assert name not in FORMATS


@pytest.mark.parametrize("data", UNKNOWN, ids=short)
def test_other_bytes_are_nothing(data: bytes) -> None:
    assert sniff(data) == ()


@pytest.mark.parametrize(
    ("brands", "formats"),
    [
        ([b"isom"], {"mp4", "mov", "3gp"}),
        ([b"mp42", b"isom"], {"mp4", "mov", "3gp"}),
        ([b"cam?"], {"mp4", "mov", "3gp"}),
        ([b"isom", b"M4A "], {"mp4", "mov", "3gp"}),
        ([b"qt  "], {"mov"}),
        ([b"qt  ", b"qt  ", bytes(4)], {"mov"}),
        ([b"qt  ", b"isom"], {"mp4", "mov", "3gp"}),
        ([b"3gp5"], {"3gp"}),
        ([b"3gp5", b"isom"], {"mp4", "mov", "3gp"}),
        ([b"3g2a", b"qt  "], {"3gp", "mov"}),
        ([b"mif1", b"isom"], {"heic"}),
        ([b"M4A ", b"isom", b"mp42"], {"m4a"}),
    ],
    ids=short,
)
def test_brands_decide_where_they_are_clear(brands: list[bytes], formats: set[str]) -> None:
    assert set(sniff(iso(*brands))) == formats


def test_size_of_the_brands_is_not_believed_beyond_reason() -> None:
    assert set(sniff(b"\xff\xff\xff\xffftypqt  " + b"\x00" * 4 + b"qt  " * 1000 + b"isom")) == {"mov"}


@pytest.mark.parametrize("size", [b"\x00\x00\x00\x00", b"\x00\x00\x00\x01"], ids=short)
def test_brands_without_a_size_are_the_major_one(size: bytes) -> None:
    assert sniff(size + iso(b"qt  ", b"isom")[4:]) == ("mov",)


def test_doctype_is_the_element_and_not_any_word() -> None:
    assert sniff(ebml(b"matroska") + b"webm") == ("mkv",)
    assert sniff(b"\x1aE\xdf\xa3\x9fwebm matroska") == ()


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe\xff\xfe",  # a byte order mark
        b"\xff\xf1\x50\x80",  # AAC
        b"\xff\xfb\xf0\x00",  # no such bit rate
        b"\xff\xfd\x90\x00",  # layer II
        b"\xff\xeb\x90\x00",  # no such version
    ],
    ids=short,
)
def test_frame_header_must_be_of_an_mp3(data: bytes) -> None:
    assert sniff(data) == ()


@given(st.sampled_from([files[0] for files in FILES.values()]), st.binary(max_size=64), st.integers(0, 40))
def test_any_bytes_can_be_looked_at(data: bytes, tail: bytes, cut: int) -> None:
    names = set(FORMATS) | set(OTHERS)

    assert set(sniff(tail)) <= names
    assert set(sniff(data[:cut] + tail)) <= names
