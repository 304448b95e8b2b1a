"""Reading S3 URIs: which names are plain enough, and what the extension tells."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedrock.errors import BadRequest
from embedrock.media import S3Object, is_s3, of_mime, read_s3_uri
from embedrock.media.formats import FORMATS

from .samples import PARAM, short


def refusal(text: str) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        read_s3_uri(text, PARAM)
    error = caught.value
    assert (error.status, error.param, error.code) == (400, PARAM, "invalid_s3_uri")
    assert PARAM in error.message
    assert "secret" not in error.message
    return error


@pytest.mark.parametrize("text", ["s3://bucket/key", "s3://", "s3://x"], ids=short)
def test_text_with_the_scheme_is_an_object(text: str) -> None:
    assert is_s3(text)


@pytest.mark.parametrize(
    "text", ["", "S3://bucket/key", "s3:/bucket/key", " s3://bucket/key", "see s3://bucket/key"], ids=short
)
def test_other_text_is_no_object(text: str) -> None:
    assert not is_s3(text)


@pytest.mark.parametrize(
    "bucket",
    ["abc", "a1-b2.c3", "1.2.3", "1.2.3.4.5", "999", "a" * 63, "my.bucket-s3alias-copy", "amzn-s3-demo-bucket", "a-.b"],
    ids=short,
)
def test_bucket_by_the_rules_is_read(bucket: str) -> None:
    assert read_s3_uri(f"s3://{bucket}/a/b.png", PARAM).uri == f"s3://{bucket}/a/b.png"


@pytest.mark.parametrize(
    "bucket",
    [
        "", "ab", "a" * 64, "Bucket", "my_bucket", "-abc", "abc-", ".abc", "abc.", "a..b", "192.168.5.4", "b:443",
        "u:p@b", "bücket", "abc\n", "a b", "arn:aws:s3:::bucket", "arn:aws:s3:us-east-1:123456789012:accesspoint",
        "%62ucket", "ap-metadata-s3alias", "my-olap--ol-s3", "mfzwi23gnjvgw.mrap", "b--use1-az4--x-s3", "t--table-s3",
    ],
    ids=short,
)  # fmt: skip
def test_other_bucket_is_refused(bucket: str) -> None:
    refusal(f"s3://{bucket}/secret.png")


@pytest.mark.parametrize(
    "key",
    [
        "k",
        "a/b/c.png",
        "a.b",
        "..a/b",
        "a../b",
        ".hidden/x",
        "a%20b.png",
        "k=v&x,y;z+(1)'!*$@:~`|^[]{}<>",
        "x" * 1024,
        "%252e%252e/a",
    ],
    ids=short,
)
def test_plain_key_is_read_as_it_is(key: str) -> None:
    assert read_s3_uri(f"s3://bucket/{key}", PARAM).uri == f"s3://bucket/{key}"


@pytest.mark.parametrize(
    "key",
    [
        "", "/secret", "a//secret", "secret/", ".", "..", "a/../secret", "../secret", "a/./secret", "./secret",
        "secret/..", "secret/.", "secret.", "%2e%2e/secret", "a%2Fsecret", "a/%2E/secret", "%5Csecret", "a\\secret",
        "secret?versionId=x", "secret#f", "a secret", "secret\n", "secret\x00", "secret\x7f", "sécret",
        "secret＃", "\ud800secret", "x" * 1025, "secret" * 1_000_000,
    ],
    ids=short,
)  # fmt: skip
def test_other_key_is_refused(key: str) -> None:
    refusal(f"s3://bucket/{key}")


@pytest.mark.parametrize(
    "text",
    ["", "bucket/secret", "S3://bucket/secret", "s3:/bucket/secret", "s3:bucket/secret", "s3://", "s3://bucket", "s3:///secret",
     "https://bucket.s3.amazonaws.com/secret", "s3a://bucket/secret", " s3://bucket/secret"],
    ids=short,
)  # fmt: skip
def test_what_is_no_s3_uri_is_refused(text: str) -> None:
    refusal(text)


def test_lengths_are_counted_apart() -> None:
    longest = f"s3://{'b' * 63}/{'k' * 1024}"

    assert read_s3_uri(longest, PARAM).uri == longest
    refusal(longest + "k")
    refusal(f"s3://bbb/{'k' * 1025}")
    refusal(longest.replace("/k", "b/k"))


def test_extension_tells_kind_and_format() -> None:
    for name, format_ in FORMATS.items():
        for extension in format_.extensions:
            for key in (f"a.{extension}", f"x.y/a.b.{extension.upper()}"):
                assert read_s3_uri(f"s3://bucket/{key}", PARAM)[1:3] == (format_.kind, name)


@pytest.mark.parametrize(
    ("key", "kind", "format_"),
    [
        ("photo.jpg", "image", "jpeg"),
        ("clip.3gp", "video", "3gp"),
        ("clip.mpg", "video", "mpg"),
        ("song.MP3", "audio", "mp3"),
        ("notes.txt", "text", "text"),
        ("notes.md", "text", "text"),
        ("page.pdf", None, None),
        ("archive.tar.gz", None, None),
        ("noextension", None, None),
        ("png", None, None),
        ("a.png/png", None, None),
        (".png", None, None),
    ],
    ids=short,
)
def test_extension_tells_kind_and_format_or_nothing(key: str, kind: str | None, format_: str | None) -> None:
    assert read_s3_uri(f"s3://bucket/{key}", PARAM)[:3] == (f"s3://bucket/{key}", kind, format_)


@pytest.mark.parametrize(
    ("key", "mime", "kind", "format_"),
    [
        ("page", "image/png", "image", "png"),
        ("page", "text/plain", "text", "text"),
        ("page", "application/octet-stream", None, None),
        ("page", "", None, None),
        ("page.jpg", "image/png", "image", "jpeg"),
    ],
)
def test_content_type_tells_what_the_extension_does_not(
    key: str, mime: str, kind: str | None, format_: str | None
) -> None:
    assert of_mime(read_s3_uri(f"s3://bucket/{key}", PARAM), mime)[1:3] == (kind, format_)


def test_no_extension_means_two_formats() -> None:
    extensions = [extension for format_ in FORMATS.values() for extension in format_.extensions]

    assert len(extensions) == len(set(extensions))


def test_key_is_not_shown() -> None:
    seen = S3Object("s3://bucket/secret.png", "image", "png")

    assert f"{seen}" == repr(seen) == "S3Object(kind='image', format='png')"


@given(st.text(alphabet="ab./%2eEfF-\\? ", max_size=30))
def test_key_that_is_read_is_one_path_to_everybody(key: str) -> None:
    """Decoded or not, cut at slashes of either kind: no part of it leads elsewhere."""
    try:
        read_s3_uri(f"s3://bucket/{key}", PARAM)
    except BadRequest:
        return

    decoded = re.sub("%2[eE]", ".", re.sub("%2[fF]", "/", key)).replace("\\", "/")
    assert decoded == key
    assert not {"", ".", ".."} & set(decoded.split("/"))
