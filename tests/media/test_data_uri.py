"""Reading data URIs: what is taken, what is refused and by which code."""

from __future__ import annotations

import base64
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedrock.errors import BadRequest
from embedrock.media import Media, is_media, read_data_uri
from embedrock.media.formats import BY_TYPE, FORMATS

from .samples import FILES, OTHERS, PARAM, data_uri, picture, read, refusal, short

PNG = picture("png")
PNG_TEXT = base64.b64encode(PNG).decode()
EVERY_FILE = [(name, data) for name, files in FILES.items() for data in files]


def payload(text: str) -> str:
    return f"data:image/png;base64,{text}"


# ----------------------------------------------------------------------------------------------------- what is taken


@pytest.mark.parametrize(("name", "data"), EVERY_FILE, ids=short)
def test_each_format_is_read_under_each_of_its_types(name: str, data: bytes) -> None:
    for type_ in FORMATS[name].types:
        media = read(type_, data)

        assert (media.kind, media.format, media.size) == (FORMATS[name].kind, name, len(data))
        assert base64.b64decode(media.base64) == data
        assert (media.width is not None) == (media.height is not None) == (media.kind == "image")


def test_picture_has_its_width_and_height() -> None:
    assert read("image/png", picture("png", 7, 5))[4:] == (7, 5)


def test_types_of_the_world_are_known() -> None:
    """Browsers, Python's `mimetypes`, `file` and ffmpeg do not agree; each is understood."""
    assert {type_: BY_TYPE.get(type_) for type_ in ("image/jpg", "audio/x-wav", "audio/wave", "audio/vnd.wave")} == {
        "image/jpg": "jpeg",
        "audio/x-wav": "wav",
        "audio/wave": "wav",
        "audio/vnd.wave": "wav",
    }
    assert [BY_TYPE[f"video/{name}"] for name in ("quicktime", "x-matroska", "x-flv", "mpeg", "x-ms-wmv", "3gpp")] == [
        "mov", "mkv", "flv", "mpeg", "wmv", "3gp",
    ]  # fmt: skip
    assert (BY_TYPE["audio/mpeg"], BY_TYPE["audio/ogg"], BY_TYPE["application/ogg"]) == ("mp3", "ogg", "ogg")


def test_no_type_means_two_formats() -> None:
    types = [type_ for format_ in FORMATS.values() for type_ in format_.types]

    assert len(types) == len(set(types)) == len(BY_TYPE)
    assert all(FORMATS[name].mime in BY_TYPE for name in FORMATS)


@pytest.mark.parametrize(
    "head", ["data:image/png;base64,", "DATA:Image/PNG;BASE64,", "data:image/x-png;base64,"], ids=short
)
def test_data_uri_comes_out_in_one_form(head: str) -> None:
    media = read_data_uri(head + PNG_TEXT, PARAM)

    assert media == Media("image", "png", PNG_TEXT, len(PNG), 3, 2)
    assert media.mime == "image/png"
    assert media.data_uri == payload(PNG_TEXT)
    assert read_data_uri(media.data_uri, PARAM) == media


def test_mpg_is_sent_with_the_one_type_mpeg_has() -> None:
    assert read("video/mpg", FILES["mpg"][0]).mime == read("video/mpeg", FILES["mpeg"][0]).mime == "video/mpeg"


@pytest.mark.parametrize(
    "parameters",
    [
        ";charset=utf-8",
        ";name=photo%20one.png",
        ";codecs=vp8,opus",
        ';codecs="avc1.42E01E,mp4a.40.2"',
        ";x=",
        ";a=1;b=2;c=3;d=4",
        ";n=" + "x" * 98,
    ],
    ids=short,
)
def test_short_parameters_are_skipped(parameters: str) -> None:
    assert read_data_uri(f"data:image/png{parameters};base64,{PNG_TEXT}", PARAM).data_uri == payload(PNG_TEXT)


@given(data=st.binary(max_size=300))
def test_what_is_read_is_what_was_sent(data: bytes) -> None:
    media = read("image/png", PNG + data)

    assert (base64.b64decode(media.base64), media.size) == (PNG + data, len(PNG + data))


def test_content_is_not_shown() -> None:
    media = read("image/png", PNG)

    assert PNG_TEXT[:8] not in f"{media} {media!r} {[media]}"
    assert repr(media) == f"Media(image/png, {len(PNG)} bytes)"


# ---------------------------------------------------------------------------------------------- what looks like media


@pytest.mark.parametrize(
    "text",
    ["data:image/png;base64,AAAA", "data:text/plain,hello", "data:a/b", "DATA:IMAGE/PNG", "data:x+y.z/a!b#c and more"],
    ids=short,
)
def test_text_with_scheme_and_type_is_media(text: str) -> None:
    assert is_media(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "data:",
        "data:,",
        "data: image/png",
        "data:image",
        "data:/png;base64,",
        "data:image/;base64,",
        "data:;base64,AAAA",
        " data:image/png;base64,AAAA",
        "data:ä/ö",
        "data:\u212aind/png",  # the Kelvin sign, which is a "k" to those who ignore case by Unicode
        "metadata:image/png",
        "data:,data:," * 10_000,
    ],
    ids=short,
)
def test_other_text_is_no_media(text: str) -> None:
    assert not is_media(text)


@given(st.text(alphabet="dat:/;,base64png=+ \n", max_size=60) | st.text(max_size=40).map("data:{}".format))
def test_any_text_is_read_or_refused_as_bad(text: str) -> None:
    """Anything else than BadRequest would be a 500."""
    with pytest.raises(BadRequest):
        read_data_uri(text, PARAM)


# -------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "text",
    [
        "",
        "data:",
        "data:,",
        "data:;base64,",
        "data:;base64,AAAA",
        "data:image/png",
        "data:image/png,abc",
        "data:image/png;base64",
        "data:image/png;base64,",
        "data:image/png;base64;base64,AAAA",
        "data:image/png;charset=x;base64;base64,AAAA",
        "data:image/png;base64;charset=x,AAAA",
        "data:image/png;base64=1;base64,AAAA",
        "data:image/png;utf8;base64,AAAA",
        "data:image/png;;base64,AAAA",
        "data:image/png; charset=x;base64,AAAA",
        "data:image/png;n=" + "x" * 99 + ";base64,AAAA",
        "data:image/png;a=1;b=2;c=3;d=4;e=5;base64,AAAA",
        "data:image/png;charset=ü;base64,AAAA",
        "data:image/png ;base64,AAAA",
        "data:image/" + "p" * 128 + ";base64,AAAA",
        " data:image/png;base64,AAAA",
        "https://example.com/a.png",
        "iVBORw0KGgo=",
        "data:image/png;x=" + "y" * 1_000_000 + ";base64,AAAA",
        "data:image/png" + ";a=b" * 250_000 + ";base64,AAAA",
        "data:image/png" + "," * 10_000,
        "data:," * 10_000,
        "data:" * 10_000,
        "data:image/png" + "data:image/png" * 10_000,
    ],
    ids=short,
)
def test_what_is_no_base64_data_uri_is_refused(text: str) -> None:
    assert refusal(text).code == "invalid_data_uri"


@pytest.mark.parametrize(
    "text",
    [
        "iVBORw0KGgo=\n",
        "iVBORw0K\nGgo=",
        " iVBORw0KGgo=",
        "iVBORw0KGgo= ",
        "iVBORw0K Ggo",
        "iVBO*w0KGgo=",
        "iVBORw0KGg-_",
        "iVBORw0KGgo",
        "iVBORw0KGgo==",
        "iVBORw0KGg=",
        "iVBORw0KGg==AAAA",
        "=",
        "====",
        "A",
        "AAAAA",
        "AA=A",
        "iVBORw0KGgp=",  # a bit of the last letter belongs to no byte
        "iVBORw0KGh==",
        "iVBORw0KGgo%3D",
        "iVBORw0KGgo＝",
        "iVBORw0K\ud800ggo",
        "iVBORw0K\x00ggo",
        ",".join(["AAAA"] * 10_000),
        "data:image/png;base64," * 10_000,
    ],
    ids=short,
)
def test_base64_that_is_not_strict_is_refused(text: str) -> None:
    assert refusal(payload(text)).code == "invalid_base64"


@given(st.text(alphabet=string.ascii_letters + string.digits + "+/=-_ \n", min_size=1, max_size=12))
def test_base64_is_taken_exactly_when_it_is_canonical(text: str) -> None:
    """Canonical: what an encoder writes. Python's own decoder lets more pass."""
    try:
        canonical = (
            bool(re.fullmatch("[A-Za-z0-9+/]+=*", text)) and base64.b64encode(base64.b64decode(text)) == text.encode()
        )
    except ValueError:
        canonical = False

    error = refusal(payload(text))

    assert (error.code != "invalid_base64") == canonical


@pytest.mark.parametrize(
    "type_",
    [
        "image/svg+xml", "text/html", "text/plain", "application/pdf", "image/x-icon", "image/tiff", "image/avif",
        "audio/flac", "audio/webm", "video/ogg", "application/octet-stream", "x/y",
    ],
)  # fmt: skip
def test_type_that_no_model_reads_is_refused_naming_those_they_read(type_: str) -> None:
    error = refusal(data_uri(type_, PNG))

    assert error.code == "unsupported_media"
    assert f"'{PARAM}' is {type_}," in error.message
    assert all(format_.mime in error.message for format_ in FORMATS.values())


def test_pdf_is_refused_with_the_way_that_works() -> None:
    assert "pages" in refusal(data_uri("application/pdf", OTHERS["pdf"])).message
    assert "pages" not in refusal(data_uri("text/html", OTHERS["html"])).message


def test_long_type_is_not_repeated() -> None:
    error = refusal(data_uri("image/" + "p" * 100, PNG))

    assert error.code == "unsupported_media"
    assert "pppp" not in error.message


@pytest.mark.parametrize(("name", "data"), list(OTHERS.items()), ids=short)
@pytest.mark.parametrize("type_", ["image/png", "audio/mpeg", "video/mp4"])
def test_other_bytes_are_refused_by_both_names(type_: str, name: str, data: bytes) -> None:
    error = refusal(data_uri(type_, data))

    assert error.code == "media_type_mismatch"
    assert f"says it is {BY_TYPE[type_]}, but it is {name}." in error.message


@pytest.mark.parametrize(
    ("declared", "real"),
    [
        ("png", "jpeg"), ("jpeg", "png"), ("gif", "webp"), ("wav", "webp"), ("mp3", "wav"),
        ("mkv", "webm"), ("webm", "mkv"), ("mp4", "mov"), ("3gp", "mov"), ("mov", "flv"),
    ],
)  # fmt: skip
def test_one_format_under_the_type_of_another_is_refused_by_both_names(declared: str, real: str) -> None:
    error = refusal(data_uri(FORMATS[declared].mime, FILES[real][0]))

    assert error.code == "media_type_mismatch"
    assert f"says it is {declared}, but it is {real}." in error.message


def test_bytes_nobody_knows_are_refused() -> None:
    error = refusal(data_uri("image/png", b"hello, world"))

    assert (error.code, error.message) == (
        "media_type_mismatch", f"'{PARAM}' says it is png, but its bytes are not."
    )  # fmt: skip
