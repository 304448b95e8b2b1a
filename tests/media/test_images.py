"""Sizes and frames of pictures, read from headers that Pillow wrote and from ones nobody should write."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from embedrock.errors import BadRequest
from embedrock.media.images import MAX_FRAMES, MAX_PIXELS, measure

from .samples import FILES, PARAM, data_uri, picture, png_header, read, refusal, short

GIF_HEADER = b"GIF89a" + struct.pack("<HHBBB", 5, 4, 0x80, 0, 0) + bytes(6)
GIF_FRAME = b"," + struct.pack("<4HB", 0, 0, 5, 4, 0) + b"\x02\x02\x84\x51\x00"
PICTURES = ["png", "jpeg", "gif", "webp"]


def code_of(format_: str, data: bytes) -> str | None:
    """Return the code of the refusal of a picture sent as what it is."""
    return refusal(data_uri(f"image/{format_}", data)).code


def jpeg(*segments: bytes, height: int = 4, width: int = 5, frame: int = 0xC0) -> bytes:
    """Return the beginning of a JPEG, up to its frame header, with `segments` before that."""
    header = struct.pack(">BBHBHHB", 0xFF, frame, 11, 8, height, width, 1) + b"\x01\x11\x00"
    return b"\xff\xd8" + b"".join(segments) + header


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def webp(chunk: bytes, body: bytes) -> bytes:
    inner = b"WEBP" + chunk + struct.pack("<I", len(body)) + body + b"\x00" * (len(body) % 2)
    return b"RIFF" + struct.pack("<I", len(inner)) + inner


def extended_webp(width: int, height: int, *chunks: bytes) -> bytes:
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return webp(b"VP8X", b"\x02\x00\x00\x00" + canvas) + b"".join(chunks)


def webp_frame(body: bytes = b"") -> bytes:
    return b"ANMF" + struct.pack("<I", len(body)) + body + b"\x00" * (len(body) % 2)


# ------------------------------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize("format_", PICTURES)
@given(width=st.integers(1, 300), height=st.integers(1, 300))
def test_size_is_the_one_pillow_wrote(format_: str, width: int, height: int) -> None:
    assert measure(picture(format_, width, height), format_, PARAM) == (width, height)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [False, True])
def test_each_kind_of_webp_has_its_size(mode: str, lossless: bool) -> None:
    out = io.BytesIO()
    Image.new(mode, (123, 45)).save(out, "webp", lossless=lossless, exif=b"Exif\x00\x00" if lossless else b"")

    assert measure(out.getvalue(), "webp", PARAM) == (123, 45)


def test_the_three_ways_of_webp_are_what_is_tested() -> None:
    rgb, alpha = Image.new("RGB", (4, 4)), Image.new("RGBA", (4, 4), (1, 2, 3, 4))
    chunks = []
    for image, lossless in ((rgb, False), (rgb, True), (alpha, False)):
        out = io.BytesIO()
        image.save(out, "webp", lossless=lossless)
        assert measure(out.getvalue(), "webp", PARAM) == (4, 4)
        chunks.append(out.getvalue()[12:16])

    assert chunks == [b"VP8 ", b"VP8L", b"VP8X"]


def test_wish_to_scale_a_webp_is_no_part_of_its_size() -> None:
    assert measure(webp(b"VP8 ", b"\x00\x00\x00\x9d\x01\x2a\x05\x40\x04\xc0"), "webp", PARAM) == (5, 4)


def test_size_of_a_jpeg_stands_behind_any_number_of_segments() -> None:
    """A thumbnail inside has a size of its own, and is skipped."""
    thumbnail = segment(0xE1, b"Exif\x00\x00" + picture("jpeg", 99, 77))
    profile = segment(0xE2, bytes(65_533)) * 200

    assert measure(jpeg(thumbnail, profile, segment(0xFE, b"hi")), "jpeg", PARAM) == (5, 4)


@pytest.mark.parametrize("frame", [0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA, 0xCF])
def test_each_kind_of_jpeg_has_its_size(frame: int) -> None:
    assert measure(jpeg(frame=frame), "jpeg", PARAM) == (5, 4)


@pytest.mark.parametrize("between", [b"\xff\xff\xff", b"\xff\x01", b"\xff\xd0", b"\x00\x00", b"\xff\x00"], ids=short)
def test_filling_between_segments_of_a_jpeg_is_skipped(between: bytes) -> None:
    assert measure(jpeg(segment(0xE0, b"JFIF"), between), "jpeg", PARAM) == (5, 4)


@pytest.mark.parametrize("table", [0xC4, 0xC8, 0xCC])
def test_table_of_a_jpeg_is_no_frame(table: int) -> None:
    assert measure(jpeg(segment(table, b"\x08\x00\x63\x00\x63\x01")), "jpeg", PARAM) == (5, 4)


@pytest.mark.parametrize("format_", ["gif", "webp"])
def test_animation_is_a_picture(format_: str) -> None:
    assert measure(picture(format_, 20, 10, frames=12), format_, PARAM) == (20, 10)


@pytest.mark.parametrize(
    "between",
    [b"", b"\x00", b"\x00\x99", b"!\xfe\x02hi\x00", b"!\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"],
    ids=short,
)
def test_frames_of_a_gif_are_counted_whatever_stands_between(between: bytes) -> None:
    assert measure(GIF_HEADER + (between + GIF_FRAME) * MAX_FRAMES + b";", "gif", PARAM) == (5, 4)
    assert code_of("gif", GIF_HEADER + (between + GIF_FRAME) * (MAX_FRAMES + 1) + b";") == "media_too_large"


def test_color_tables_of_a_gif_are_skipped() -> None:
    own_table = b"," + struct.pack("<4HB", 0, 0, 5, 4, 0x87) + b"!,;" * 256 + b"\x02\x02\x84\x51\x00"

    assert measure(GIF_HEADER + own_table * MAX_FRAMES + b";", "gif", PARAM) == (5, 4)
    assert code_of("gif", GIF_HEADER + own_table * (MAX_FRAMES + 1)) == "media_too_large"


def test_frame_of_a_gif_without_a_color_table_has_none_to_skip() -> None:
    interlaced = b"," + struct.pack("<4HB", 0, 0, 5, 4, 0x47) + b"\x02\x02\x84\x51\x00"

    assert code_of("gif", GIF_HEADER + interlaced * (MAX_FRAMES + 1)) == "media_too_large"


def test_nothing_counts_behind_the_end_of_a_gif() -> None:
    assert measure(GIF_HEADER + GIF_FRAME + b";" + GIF_FRAME * (MAX_FRAMES + 1), "gif", PARAM) == (5, 4)


def test_gif_that_is_cut_short_is_what_is_there() -> None:
    whole = picture("gif", 30, 20, frames=3)

    assert measure(whole[: len(whole) // 2], "gif", PARAM) == (30, 20)
    assert measure(GIF_HEADER + GIF_FRAME + GIF_FRAME[:6], "gif", PARAM) == (5, 4)


def test_one_pixel_is_a_picture() -> None:
    sizes = [read(f"image/{name}", picture(name, 1, 1))[4:] for name in PICTURES]

    assert sizes == [(1, 1)] * 4


def test_scripts_inside_a_picture_are_not_looked_at() -> None:
    comment = segment(0xFE, b"<script>alert(1)</script>") + segment(
        0xE1, b"http://ns.adobe.com/xap/1.0/\x00<x:xmpmeta/>"
    )

    assert read("image/jpeg", jpeg(comment))[4:] == (5, 4)


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("format_", PICTURES)
def test_header_that_is_cut_short_is_refused_wherever_it_is_cut(format_: str) -> None:
    data = FILES[format_][0]
    codes = [
        code_of(format_, data[:end]) if not _size(format_, data[:end]) else None for end in range(1, len(data) + 1)
    ]

    assert set(codes) == {"media_type_mismatch", "invalid_media", None}
    assert codes == sorted(codes, key=["media_type_mismatch", "invalid_media", None].index)


def _size(format_: str, data: bytes) -> tuple[int, int] | None:
    """Return the size that is read, which is the true one, or None."""
    try:
        size = read(f"image/{format_}", data)[4:]
    except BadRequest:
        return None
    assert size == (3, 2)
    return (3, 2)


@pytest.mark.parametrize(
    ("format_", "data"),
    [
        ("png", png_header(0, 0)),
        ("png", png_header(5, 0)),
        ("png", png_header(5, 4).replace(b"IHDR", b"IDAT")),
        ("png", png_header(5, 4).replace(b"\x0dIHDR", b"\x0cIHDR")),
        ("png", png_header(5, 4)[:-1]),
        ("jpeg", jpeg(width=0)),
        ("jpeg", jpeg(height=0)),
        ("jpeg", jpeg(b"\xff\xd9")),
        ("jpeg", jpeg(b"\xff\xda\x00\x02")),
        ("jpeg", jpeg()[:8]),
        ("jpeg", jpeg(b"\xff\xe0\xff\xff")),
        ("jpeg", b"\xff\xd8" + b"\xff" * 100_000),
        ("jpeg", jpeg(b"\xff\xe0\x00\x02" + bytes(2_000))),
        ("gif", GIF_HEADER),
        ("gif", GIF_HEADER + b";"),
        ("gif", GIF_HEADER + GIF_FRAME[:8]),
        ("gif", GIF_HEADER + bytes(2_000) + GIF_FRAME),
        ("gif", b"GIF89a" + bytes(4) + GIF_HEADER[10:] + GIF_FRAME),
        ("webp", webp(b"VP8 ", bytes(10))),
        ("webp", webp(b"VP8 ", b"\x00\x00\x00\x9d\x01\x2a\x00\x00\x04\x00")),
        ("webp", webp(b"VP8L", bytes(10))),
        ("webp", webp(b"JUNK", b"\x00\x00\x00\x9d\x01\x2a\x05\x00\x04\x00")),
        ("webp", extended_webp(5, 4)[:-1]),
    ],
    ids=short,
)
def test_header_that_gives_no_size_is_refused(format_: str, data: bytes) -> None:
    assert code_of(format_, data) == "invalid_media"


@pytest.mark.parametrize(
    ("format_", "data"),
    [
        ("png", png_header(50_000, 50_000)),
        ("png", png_header(2**31 - 1, 1)),
        ("jpeg", jpeg(width=65_535, height=65_535)),
        ("gif", b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + GIF_FRAME),
        ("gif", GIF_HEADER + b"," + struct.pack("<4HB", 60_000, 60_000, 5, 4, 0) + GIF_FRAME[10:]),
        ("webp", webp(b"VP8L", b"\x2f" + (16_383 | 16_383 << 14).to_bytes(4, "little") + b"\x00")),
        ("webp", webp(b"VP8 ", b"\x00\x00\x00\x9d\x01\x2a\xff\x3f\xff\x3f")),
        ("webp", extended_webp(2**24, 2**24)),
    ],
    ids=short,
)
def test_few_bytes_that_claim_many_pixels_are_refused(format_: str, data: bytes) -> None:
    assert len(data) < 80
    assert code_of(format_, data) == "media_too_large"


def test_limit_of_pixels_is_exact() -> None:
    assert measure(png_header(10_000, MAX_PIXELS // 10_000), "png", PARAM) == (10_000, 10_000)
    assert code_of("png", png_header(MAX_PIXELS + 1, 1)) == "media_too_large"
    assert f"{MAX_PIXELS + 1:,} pixels" in refusal(data_uri("image/png", png_header(MAX_PIXELS + 1, 1))).message


@pytest.mark.parametrize("body", [b"", b"odd", bytes(40)], ids=short)
def test_frames_of_a_webp_are_counted(body: bytes) -> None:
    frames = [webp_frame(body)] * MAX_FRAMES

    assert measure(extended_webp(5, 4, *frames), "webp", PARAM) == (5, 4)
    assert code_of("webp", extended_webp(5, 4, *frames, webp_frame())) == "media_too_large"


def test_frames_pillow_wrote_are_counted() -> None:
    """The gif of a thousand and one frames is real."""
    data = picture("gif", 2, 2, frames=MAX_FRAMES + 1)
    with Image.open(io.BytesIO(data)) as image:
        assert getattr(image, "n_frames", 1) == MAX_FRAMES + 1

    assert code_of("gif", data) == "media_too_large"


@pytest.mark.parametrize(
    ("format_", "data"),
    [
        ("gif", GIF_HEADER + b"!\xf9\x00" * 100_000 + GIF_FRAME),
        ("gif", GIF_HEADER + GIF_FRAME[:11] + b"\x01\x00" * 300_000),
        ("gif", GIF_HEADER + GIF_FRAME[:11] + b"\x01x" * 300_000 + b"\x00;"),
        ("jpeg", jpeg(b"\xff\xe0\x00\x02" * 10_000)),
        ("jpeg", jpeg(b"\xff\xd0" * 10_000)),
        ("webp", extended_webp(5, 4, b"ABCD\x00\x00\x00\x00" * 10_000)),
    ],
    ids=short,
)
def test_file_of_countless_parts_is_not_walked_to_its_end(format_: str, data: bytes) -> None:
    assert code_of(format_, data) == "media_too_large"


@pytest.mark.parametrize("format_", PICTURES)
@given(data=st.data())
def test_broken_picture_is_measured_or_refused(format_: str, data: st.DataObject) -> None:
    whole = bytearray(FILES[format_][0])
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        width, height = measure(bytes(whole), format_, PARAM)
    except BadRequest as error:
        assert error.code in ("invalid_media", "media_too_large")
    else:
        assert 0 < width * height <= MAX_PIXELS
