"""OpenAI's dialect: what is asked, what is answered, what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedrock import vectors
from embedrock.catalog import MODELS
from embedrock.errors import BadRequest, EmbedrockError, Unavailable
from embedrock.vectors import Label, Segment
from embedrock.wire import openai
from embedrock.wire.openai import EmbeddingsRequest, decode_request, encode_response

TITAN = "amazon.titan-embed-text-v2:0"


def decode(**members: object) -> EmbeddingsRequest:
    """Decode a request for a model and an input, and whatever else is given."""
    return decode_request(json.dumps({"model": "m", "input": "x"} | members).encode())


def refusal(**members: object) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        decode(**members)
    return caught.value


# ---------------------------------------------------------------- what is asked


def test_least_request() -> None:
    assert decode_request(b'{"model":"m","input":"x"}') == EmbeddingsRequest("m", "x", vectors.as_json, None, ())


def test_whole_request() -> None:
    ask = decode(encoding_format="base64", dimensions=256, user="u-1", metadata={"team": "search"})

    assert ask == EmbeddingsRequest("m", "x", vectors.as_base64, 256, (), "u-1", {"team": "search"})


@pytest.mark.parametrize(
    "value", ["text", "", ["a", "b"], [], [1212, 318], [[1212, 318], [257]], ["a", None], 7, {}, "\ud800", "a\x00"]
)
def test_input_is_passed_on_as_it_is(value: object) -> None:
    """Whoever embeds it knows what it may be."""
    assert decode(input=value).input == value


def test_lone_surrogate_in_a_text_is_accepted() -> None:
    """Every JavaScript client can send one, escaped."""
    assert decode_request(b'{"model":"m","input":["\\ud800","\\ud83d\\ude00"]}').input == ["\ud800", "😀"]


@pytest.mark.parametrize("member", ["encoding_format", "dimensions", "user", "metadata", "input"])
def test_null_counts_as_absent(member: str) -> None:
    body = {"model": "m", "input": "x"}
    body.pop(member, None)

    assert decode_request(json.dumps(body | {member: None}).encode()) == decode_request(json.dumps(body).encode())


@pytest.mark.parametrize("order", list(permutations(["model", "input", "encoding_format", "dimensions"])))
def test_members_come_in_any_order(order: Sequence[str]) -> None:
    members = {"model": "m", "input": "x", "encoding_format": "base64", "dimensions": 256}

    ask = decode_request(json.dumps({name: members[name] for name in order}).encode())

    assert ask == EmbeddingsRequest("m", "x", vectors.as_base64, 256, ())


def test_body_may_be_spread_over_lines() -> None:
    body = '\n {\r\n\t"input" : [ "x" ] ,\n  "model": "m"\n}\n'

    assert decode_request(body.encode()) == EmbeddingsRequest("m", ["x"], vectors.as_json, None, ())


@pytest.mark.parametrize("name", [TITAN, f"bedrock/{TITAN}", "arn:aws:bedrock:us-east-1:123456789012:x/y", "Modell ä"])
def test_model_is_passed_on_as_it_is(name: str) -> None:
    assert decode(model=name).model == name


@pytest.mark.parametrize(
    "member, value, code",
    [
        ("model", None, "invalid_value"),
        ("model", "", "invalid_value"),
        ("model", 3, "invalid_type"),
        ("model", ["m"], "invalid_type"),
        ("encoding_format", "", "invalid_value"),
        ("encoding_format", "FLOAT", "invalid_value"),
        ("encoding_format", "int8", "invalid_value"),
        ("encoding_format", 1, "invalid_type"),
        ("encoding_format", ["float"], "invalid_type"),
        ("dimensions", 0, "invalid_value"),
        ("dimensions", -1, "invalid_value"),
        ("dimensions", -(10**30), "invalid_value"),
        ("dimensions", "256", "invalid_type"),
        ("dimensions", 256.0, "invalid_type"),
        ("dimensions", True, "invalid_type"),
        ("dimensions", [], "invalid_type"),
        ("user", 1, "invalid_type"),
        ("user", "a\nb", "invalid_value"),
        ("user", "u" * 513, "invalid_value"),
        ("metadata", "a", "invalid_type"),
        ("metadata", ["a"], "invalid_type"),
        ("metadata", {"a": 1}, "invalid_type"),
        ("metadata", {"a": {}}, "invalid_type"),
        ("metadata", {str(number): "" for number in range(17)}, "invalid_value"),
        ("metadata", {"k" * 65: ""}, "invalid_value"),
        ("metadata", {"a": "v" * 513}, "invalid_value"),
    ],
)
def test_wrong_value_is_refused_by_its_name(member: str, value: object, code: str) -> None:
    error = refusal(**{member: value})

    assert (error.status, error.param, error.code) == (400, member, code)


def test_missing_model_is_refused_by_its_name() -> None:
    with pytest.raises(BadRequest) as caught:
        decode_request(b'{"input":"x"}')

    assert caught.value.param == "model"


@pytest.mark.parametrize(
    "member, value",
    [
        ("user", "u" * 512),
        ("user", ""),
        ("user", "Zoë 東"),
        ("metadata", {}),
        ("metadata", {"k" * 64: "v" * 512, **{str(number): "" for number in range(15)}}),
        ("dimensions", 1),
        ("dimensions", 10**30),
    ],
)
def test_value_at_its_limit_is_accepted(member: str, value: object) -> None:
    assert decode(**{member: value}).model == "m"


# ---------------------------------------------------------------- parameters of the model


@pytest.mark.parametrize(
    "members, params",
    [
        ({}, []),
        ({"dimensions": 256, "user": "u", "metadata": {}, "encoding_format": "float"}, []),
        ({"truncate": "END"}, [{"truncate": "END"}]),
        ({"inputType": "x", "max_tokens": 3, "user": "u"}, [{"inputType": "x", "max_tokens": 3}]),
        ({"truncate": None}, [{"truncate": None}]),
        ({"extra_body": {"truncate": "END"}}, [{}, {"truncate": "END"}]),
        ({"extra_body": {}}, [{}, {}]),
        ({"extra_body": None}, [{}]),
        ({"extra_body": None, "truncate": "END"}, [{"truncate": "END"}]),
        (
            {"truncate": "START", "extra_body": {"truncate": "END", "input_type": None}},
            [{"truncate": "START"}, {"truncate": "END", "input_type": None}],
        ),
        ({"extra_body": {"extra_body": {"a": 1}}}, [{}, {"extra_body": {"a": 1}}]),
        ({"extra_body": {"dimensions": 256, "user": "u"}}, [{}, {"dimensions": 256, "user": "u"}]),
    ],
    ids=str,
)
def test_what_openai_does_not_have_is_the_models(members: dict[str, Any], params: list[dict[str, Any]]) -> None:
    """At top level, then in `extra_body`: the first that says something holds, and null says nothing."""
    assert list(decode(**members).params) == params


@pytest.mark.parametrize("value", ["a", 1, [], [{"a": 1}], True])
def test_extra_body_is_an_object(value: object) -> None:
    error = refusal(extra_body=value)

    assert (error.param, error.code) == ("extra_body", "invalid_type")


@pytest.mark.parametrize(
    "name", ["stream", "Model", "input ", "api_base", "endpoint_url", "__class__", "$ref", "", "a\nb", "\ud800"]
)
@pytest.mark.parametrize("value", [None, 1])
def test_unknown_member_is_left_to_who_knows_the_model(name: str, value: object) -> None:
    ask = decode(**{name: value})

    assert ask == EmbeddingsRequest("m", "x", vectors.as_json, None, [{name: value}])


def test_model_of_the_path_wins_over_the_bodys() -> None:
    for members in ({}, {"model": None}, {"model": ""}, {"model": "other"}):
        body = json.dumps({"input": "x"} | members).encode()
        assert decode_request(body, "deployment").model == "deployment"


@pytest.mark.parametrize(
    "body, code",
    [
        (b'{"model":"a","model":"b","input":"x"}', "duplicate_key"),
        (b'{"model":"a","input":"x","input":"x"}', "duplicate_key"),
        (b'\xef\xbb\xbf{"model":"m","input":"x"}', "invalid_json"),
        ('{"model":"m","input":"x"}'.encode("utf-16"), "invalid_json"),
        (b'{"model":"m","input":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "invalid_json"),
        (b'{"model":"m","input":"x","dimensions":' + b"1" * 5000 + b"}", "invalid_json"),
        (b'{"model":"m","input":[NaN]}', "invalid_json"),
        (b'{"model":"m","input":"x","dimensions":1e400}', "invalid_json"),
        (b'["m","x"]', "invalid_json"),
    ],
)
def test_body_that_is_no_strict_json_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode_request(body)

    assert (caught.value.code, caught.value.param) == (code, None)


# ---------------------------------------------------------------- what is answered


def vector_text(index: int) -> bytes:
    """Return the text of a vector that tells its place, in a spelling no JSON printer would choose."""
    return b"[%d, 0.5E-1,-0.0]" % (index + 1)


def pieces_of(
    model: str, embeddings: Sequence[bytes], tokens: int = 1, labels: Sequence[Label] | None = None
) -> list[bytes | memoryview]:
    """Return the pieces of an answer, of which the length is told beforehand."""
    body = encode_response(model, embeddings, tokens, labels)
    pieces = list(body.pieces)
    assert body.length == sum(map(len, pieces))
    return pieces


def answer_of(model: str, embeddings: Sequence[bytes], tokens: int = 1, labels: Sequence[Label] | None = None) -> Any:
    return json.loads(b"".join(pieces_of(model, embeddings, tokens, labels)))


@pytest.mark.parametrize("count", [1, 2, 96, 2048])
def test_answer_holds_every_vector_in_order(count: int) -> None:
    answer = answer_of("my model", [vector_text(index) for index in range(count)], 7)

    assert answer == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": [index + 1, 0.05, -0.0]} for index in range(count)
        ],
        "model": "my model",
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    }


@pytest.mark.parametrize("count", [1, 2, 96])
def test_number_text_is_in_the_answer_byte_for_byte(count: int) -> None:
    body = b"".join(pieces_of("m", [vector_text(index) for index in range(count)]))

    assert all(b'"embedding":%b}' % vector_text(index) in body for index in range(count))


def test_vectors_may_be_strings() -> None:
    answer = answer_of("m", [b'"AACAPw=="', b'"AAAAQA=="'])

    assert [item["embedding"] for item in answer["data"]] == ["AACAPw==", "AAAAQA=="]


@given(st.text(), st.integers(0, 10**12), st.integers(1, 3))
def test_model_is_echoed_whatever_it_holds(model: str, tokens: int, count: int) -> None:
    answer = answer_of(model, [b"[1]"] * count, tokens)

    assert answer["model"] == model
    assert answer["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


@pytest.mark.parametrize("count", [1, 2, 96])
def test_vectors_are_not_copied(count: int) -> None:
    """A large answer is never joined: its vectors go out from where they came in."""
    vectors = [memoryview(vector_text(index)) for index in range(count)]

    pieces = encode_response("m", vectors, 7).pieces

    assert [piece for piece in pieces if isinstance(piece, memoryview)] == vectors
    assert {id(vector) for vector in vectors} <= {id(piece) for piece in pieces}


@pytest.mark.parametrize(
    "labels, members",
    [
        ([Label(0)], [{"index": 0}]),
        ([Label(0), Label(1), Label(2)], [{"index": 0}, {"index": 1}, {"index": 2}]),
        ([Label(0, input_indices=(0, 1))], [{"index": 0, "input_indices": [0, 1]}]),
        (
            [Label(0, Segment(option="video")), Label(0, Segment(option="audio")), Label(1)],
            [{"index": 0, "segment": {"option": "video"}}, {"index": 0, "segment": {"option": "audio"}}, {"index": 1}],
        ),
        (
            [Label(3, Segment(0.0, 5.5, None, None, "visual", "clip")), Label(4, Segment(start_char=0, end_char=800))],
            [
                {"index": 3, "segment": {"start_sec": 0.0, "end_sec": 5.5, "option": "visual", "scope": "clip"}},
                {"index": 4, "segment": {"start_char": 0, "end_char": 800}},
            ],
        ),
        ([Label(7, Segment())], [{"index": 7, "segment": {}}]),
    ],
    ids=range(6),
)
def test_label_says_which_inputs_and_which_part_a_vector_is_of(
    labels: list[Label], members: list[dict[str, Any]]
) -> None:
    """What is not known of a segment is left out."""
    answer = answer_of("m", [vector_text(place) for place in range(len(labels))], 7, labels)

    assert answer["data"] == [
        {"object": "embedding", "embedding": [place + 1, 0.05, -0.0], **more} for place, more in enumerate(members)
    ]
    assert (answer["model"], answer["usage"]) == ("m", {"prompt_tokens": 7, "total_tokens": 7})


@pytest.mark.parametrize("count", [1, 2, 96])
def test_plain_labels_change_no_byte(count: int) -> None:
    held = [vector_text(index) for index in range(count)]

    assert b"".join(pieces_of("m", held, 7, list(map(Label, range(count))))) == b"".join(pieces_of("m", held, 7))


@pytest.mark.parametrize("labels", [0, 1, 3])
def test_label_too_many_or_too_few_is_a_fault(labels: int) -> None:
    with pytest.raises(ValueError, match="zip"):
        encode_response("m", [b"[1]", b"[2]"], 1, [Label(0)] * labels)


# ---------------------------------------------------------------- errors and models


@pytest.mark.parametrize(
    "error, members",
    [
        (
            BadRequest("no"),
            {"message": "no", "type": "invalid_request_error", "param": None, "code": None},
        ),
        (
            BadRequest('a "quoted" word', param="input[3]", code="empty_input"),
            {
                "message": 'a "quoted" word',
                "type": "invalid_request_error",
                "param": "input[3]",
                "code": "empty_input",
            },
        ),
        (
            Unavailable("down"),
            {"message": "down", "type": "server_error", "param": None, "code": "upstream_unavailable"},
        ),
    ],
)
def test_error_has_all_four_members(error: EmbedrockError, members: dict[str, Any]) -> None:
    assert json.loads(openai.encode_error(error)) == {"error": members}


def test_model_object() -> None:
    model = json.loads(openai.encode_model("an alias", MODELS[TITAN], 2048))

    assert model == {
        "id": "an alias",
        "object": "model",
        "created": 0,
        "owned_by": "amazon",
        "supported_features": ["bedrock_embeddings"],
        "input_modalities": ["text"],
        "dimensions": [256, 512, 1024],
        "default_dimensions": 1024,
        "max_inputs": 2048,
        "max_input_tokens": 8192,
        "prices": {"text_per_million_tokens": "0.02", "batch_multiplier": "0.5"},
    }


def test_list_of_models() -> None:
    answer = json.loads(openai.encode_models(MODELS.items(), 2048))

    assert answer["object"] == "list"
    assert [model["id"] for model in answer["data"]] == list(MODELS)
    assert all(model["owned_by"] and type(model["created"]) is int for model in answer["data"])


def test_prices_are_told_exactly() -> None:
    prices = json.loads(openai.encode_model("m", MODELS["twelvelabs.marengo-embed-3-0-v1:0"], 2048))["prices"]

    assert Decimal(prices["text_per_request"]) == Decimal("0.00007")
    assert prices["text_per_request"] == "0.00007"
    assert "text_per_million_tokens" not in prices, "unknown is absent"
