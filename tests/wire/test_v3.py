"""The third dialect: OpenAI's request without empty strings, and an answer with an id and a time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from embedrock import vectors
from embedrock.errors import BadRequest
from embedrock.vectors import Label, Segment
from embedrock.wire import openai, v3
from embedrock.wire.openai import EmbeddingsRequest


def decode(**members: object) -> EmbeddingsRequest:
    return v3.decode_request(json.dumps({"model": "m", "input": "x"} | members).encode())


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"input": ["a", "b"]},
        {"input": [15339, 1917], "encoding_format": "base64"},
        {"input": " ", "dimensions": 512},
        {"input": [["a"], [""]], "input_type": "search_query"},
    ],
)
def test_request_is_openais(members: dict[str, object]) -> None:
    body = json.dumps({"model": "m", "input": "x"} | members).encode()

    assert v3.decode_request(body) == openai.decode_request(body)


def test_whole_request() -> None:
    ask = decode(encoding_format="base64", dimensions=256, user="u-1", truncate="END")

    assert ask == EmbeddingsRequest("m", "x", vectors.as_base64, 256, [{"truncate": "END"}], "u-1")


@pytest.mark.parametrize(
    "value, param", [("", "input"), ([""], "input[0]"), (["a", "", ""], "input[1]"), ([["a"], ""], "input[1]")]
)
def test_empty_string_is_refused_by_its_place(value: object, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(input=value)

    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, "empty_input")


@pytest.mark.parametrize("member, value", [("model", None), ("encoding_format", "int8"), ("dimensions", "256")])
def test_what_openais_path_refuses_is_refused(member: str, value: object) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(**{member: value})

    assert caught.value.param == member


def test_answer_byte_for_byte() -> None:
    body = v3.encode_response("m", [b"[0.5]", b'"AAA="'], 7, answer_id="embed-0a", created=1700000000.0)

    whole = b"".join(body.pieces)
    assert body.length == len(whole)
    assert whole == (
        b'{"id":"embed-0a","object":"embedding","data":['
        b'{"object":"embedding","index":0,"embedding":[0.5]},{"object":"embedding","index":1,"embedding":"AAA="}],'
        b'"model":"m","created":1700000000.0,"usage":{"prompt_tokens":7,"total_tokens":7}}'
    )


def test_answer_echoes_any_name() -> None:
    name = 'quote " back \\ 東'

    body = v3.encode_response(name, [b"[0.5]"], 1, answer_id="embed-0a", created=1.0)

    assert json.loads(b"".join(body.pieces))["model"] == name


def test_answer_has_labels() -> None:
    labels = [Label(0, Segment(option="audio")), Label(0, Segment(option="visual"))]

    body = v3.encode_response("m", [b"[0.5]", b"[1]"], 1, labels, answer_id="embed-0a", created=1.0)

    data: list[dict[str, Any]] = json.loads(b"".join(body.pieces))["data"]
    assert [(item["index"], item["segment"]["option"]) for item in data] == [(0, "audio"), (0, "visual")]
