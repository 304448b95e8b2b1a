"""Long data URIs are taken out of a body before it is read, and nothing about what it says changes."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from embedrock.errors import BadRequest
from embedrock.inputs import LongUri, read_inputs
from embedrock.media import Media
from embedrock.wire.long_uris import Cut
from embedrock.wire.openai import decode_request
from embedrock.wire.strict_json import decode_object

FILM = b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41" + bytes(range(256)) * 4000
DATA = b64encode(FILM).decode()
URI = f"data:video/mp4;base64,{DATA}"


def cut(document: object) -> tuple[Cut, Any]:
    found = Cut(json.dumps(document).encode())
    return found, found.whole(decode_object(found.body))


def as_text(value: Any) -> Any:
    if isinstance(value, LongUri):
        return value.text
    if isinstance(value, list):
        return [as_text(item) for item in value]
    return {name: as_text(item) for name, item in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize(
    "document",
    [
        {"input": URI},
        {"input": [URI, "a", URI[:-4] + "AAA=", URI]},
        {"input": [[{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": URI}}]]},
        {"extra_body": {"more": URI}, "input": "a", "user": URI},
    ],
    ids=range(4),
)
def test_long_uris_are_taken_out_wherever_they_stand(document: dict[str, Any]) -> None:
    found, read = cut(document)

    assert len(found.body) < 500
    assert read != document
    assert as_text(read) == document


@pytest.mark.parametrize(
    "text",
    [
        "x" * 2_000_000,
        URI[:1000],
        f"data:;base64,{DATA}",
        f"data:video/mp4,{DATA}",
        f"data:video/mp4;{'x' * 1000};base64,{DATA}",
        f'say "{URI}"',
        f"data:video/mp4;base64,{DATA}\\",
        f"data:video/mp4;base64,{DATA}\n",
        f'data:video/mp4;base64,{DATA}"',
    ],
    ids=range(9),
)
def test_other_texts_stay(text: str) -> None:
    found, read = cut({"input": ["a", text]})

    assert read == {"input": ["a", text]}
    assert found.body == json.dumps({"input": ["a", text]}).encode()


def test_text_that_looks_like_a_mark_is_none() -> None:
    _, read = cut({"input": [URI, "0" * 32 + "0", "0"]})

    assert read["input"][1:] == ["0" * 32 + "0", "0"]


@pytest.mark.parametrize(
    "body",
    [
        f'{{"input": "{URI}" "a"}}',
        f'{{"input": ["a":"{URI}"]}}',
        f'{{"input": "a:"{URI}"}}',
        f'{{"input": "{URI}"',
        f'"{URI}"',
        f'{{"input": "a ["{URI}", "b"}}',
    ],
)
def test_what_is_no_json_object_is_none_afterwards(body: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode_request(body.encode())

    assert caught.value.code == "invalid_json"


def test_member_that_is_there_twice_is_refused() -> None:
    with pytest.raises(BadRequest) as caught:
        decode_request(f'{{"model": "m", "input": "{URI}", "input": "{URI}"}}'.encode())

    assert caught.value.code == "duplicate_key"


def test_film_is_a_view_of_the_body() -> None:
    body = bytearray(json.dumps({"model": "m", "input": ["a", URI]}).encode())

    (_, film) = read_inputs(decode_request(body).input, 10).items

    assert isinstance(film, Media)
    assert (film.kind, film.format, film.size) == ("video", "mp4", len(FILM))
    assert isinstance(film.base64, memoryview) and film.base64.obj is body
    assert film.data_uri == URI
    body[-10] = ord("A")  # nothing was copied
    assert film.data_uri != URI


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        (URI.replace("video/mp4", "video/webm"), "media_type_mismatch"),
        (URI.replace("video/mp4", "image/png"), "media_type_mismatch"),
        (URI.replace("video/mp4", "video/xyz"), "unsupported_media"),
        (URI + "A", "invalid_base64"),
        (URI[:-4] + "AB==", "invalid_base64"),
        (URI + "=" * 4, "invalid_base64"),
        (URI[:500_000] + "-" + URI[500_001:], "invalid_base64"),
        (f"data:video/mp4;base64,{DATA}".replace(";base64", ";;base64"), "invalid_data_uri"),
    ],
    ids=range(8),
)
def test_long_film_is_checked_as_a_short_one(uri: str, code: str) -> None:
    for value, param in ((cut({"input": uri})[1]["input"], "input"), (cut({"input": [uri]})[1]["input"], "input[0]")):
        with pytest.raises(BadRequest) as caught:
            read_inputs(value, 10)
        assert (caught.value.param, caught.value.code) == (param, code)


def test_padding_in_the_middle_of_a_long_film_is_refused() -> None:
    padded = b64encode(FILM[:40] + bytes(3 * 1024 * 1024 - 41)).decode()
    assert len(padded) == 4 * 1024 * 1024 and padded.endswith("=")

    with pytest.raises(BadRequest) as caught:
        read_inputs(cut({"input": f"data:video/mp4;base64,{padded}{DATA}"})[1]["input"], 10)

    assert caught.value.code == "invalid_base64"


@pytest.mark.parametrize("size", [3 * 1024 * 1024, 3 * 1024 * 1024 + 1, 6 * 1024 * 1024 - 1])
def test_long_film_may_end_anywhere(size: int) -> None:
    data = FILM[:40] + bytes(size - 40)

    (film,) = read_inputs(cut({"input": f"data:video/mp4;base64,{b64encode(data).decode()}"})[1]["input"], 10).items

    assert isinstance(film, Media) and film.size == size


def test_text_part_that_is_a_long_uri_is_a_text() -> None:
    parts = [{"type": "text", "text": URI}]

    assert read_inputs(cut({"input": [parts]})[1]["input"], 10).items == [URI]
