"""Titan text embeddings, v1 and V2, over HTTP: shape of answers, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bedrock_emulator import expected_vectors

from .conftest import PROFILE_ARN, TITAN, Running


def refusal(emulator: Running, body: Any) -> str:
    answer = emulator.invoke(TITAN, body)
    assert answer.status == 400
    assert answer.headers["x-amzn-errortype"].startswith("ValidationException:")
    return str(answer.json["message"])


def test_answer_has_bedrocks_members_in_bedrocks_order(emulator: Running) -> None:
    answer = emulator.invoke(TITAN, {"inputText": "hello"})

    assert list(answer.json) == ["embedding", "embeddingsByType", "inputTextTokenCount"]
    assert answer.json["embeddingsByType"] == {"float": answer.json["embedding"]}
    assert answer.body.startswith(b'{"embedding":[')
    assert answer.body.endswith(b']},"inputTextTokenCount":2}')


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("dimensions", [256, 512, 1024])
def test_vectors_have_length_one_also_without_normalize(emulator: Running, dimensions: int, normalize: bool) -> None:
    body = {"inputText": "hello", "dimensions": dimensions, "normalize": normalize}

    embedding = emulator.invoke(TITAN, body).json["embedding"]

    assert len(embedding) == dimensions
    assert np.linalg.norm(embedding) == pytest.approx(1.0, abs=1e-9)
    assert embedding == expected_vectors(TITAN, {**body, "normalize": True})[0]


def test_numbers_are_float64_in_shortest_form(emulator: Running) -> None:
    text = emulator.invoke(TITAN, {"inputText": "The style of numbers"}).body.partition(b"[")[2].partition(b"]")[0]

    numbers = text.decode().split(",")
    assert [repr(float(number)) for number in numbers if "e" not in number] == [n for n in numbers if "e" not in n]
    assert max(len(number.lstrip("-0.")) for number in numbers) >= 16


@pytest.mark.parametrize(
    ("types", "members"),
    [
        (["float"], ["embedding", "embeddingsByType", "inputTextTokenCount"]),
        (["binary"], ["embeddingsByType", "inputTextTokenCount"]),
        (["binary", "float"], ["embedding", "embeddingsByType", "inputTextTokenCount"]),
    ],
)
def test_embedding_is_absent_when_only_binary_was_asked_for(
    emulator: Running, types: list[str], members: list[str]
) -> None:
    answer = emulator.invoke(TITAN, {"inputText": "hello", "embeddingTypes": types, "dimensions": 256}).json

    assert list(answer) == members
    assert sorted(answer["embeddingsByType"]) == sorted(types)


def test_binary_is_one_bit_a_dimension_and_follows_the_sign(emulator: Running) -> None:
    by_type = emulator.invoke(TITAN, {"inputText": "hello", "embeddingTypes": ["float", "binary"]}).json[
        "embeddingsByType"
    ]

    assert by_type["binary"] == [int(number > 0) for number in by_type["float"]]


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({"inputText": ["a"]}, "expected type: String, found: JSONArray"),
        ({"inputText": None}, "expected type: String, found: Null"),
        ({"inputText": {}}, "expected type: String, found: JSONObject"),
        ({"inputText": 1}, "expected type: String, found: Integer"),
        ({"inputText": True}, "expected type: String, found: Boolean"),
        ({"inputText": ""}, "expected minLength: 1, actual: 0"),
        ({"inputText": "x" * 52611}, "expected maxLength: 50000, actual: 52611"),
        ({}, "required key [inputText] not found"),
        ({"inputText": "x", "foo": 1}, "extraneous key [foo] is not permitted"),
        ({"texts": ["x"]}, "#: required key [inputText] not found#: extraneous key [texts] is not permitted"),
        ({"inputText": "x", "dimensions": 300}, "300 is not a valid enum value"),
        ({"inputText": "x", "dimensions": "256"}, "expected type: Integer, found: String"),
        ({"inputText": "x", "dimensions": 256.5}, "expected type: Integer, found: BigDecimal"),
        ({"inputText": "x", "normalize": "yes"}, "expected type: Boolean, found: String"),
        ({"inputText": "x", "embeddingTypes": "float"}, "expected type: JSONArray, found: String"),
        ({"inputText": "x", "embeddingTypes": []}, "expected minimum item count: 1, found: 0"),
        ({"inputText": "x", "embeddingTypes": ["int8"]}, "int8 is not a valid enum value"),
        (
            {"dimensions": 300, "normalize": 1},
            "#: required key [inputText] not found#/dimensions: 300 is not a valid enum value"
            "#/normalize: expected type: Boolean, found: Integer",
        ),
    ],
)
def test_schema_violations_are_worded_as_bedrock_words_them(
    emulator: Running, body: dict[str, Any], details: str
) -> None:
    assert refusal(emulator, body) == (f"Malformed input request: {details}, please reformat your input and try again.")


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]", b'"text"', b'{"inputText":', b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_malformed(emulator: Running, body: bytes) -> None:
    assert refusal(emulator, body) == "Malformed input request, please reformat your input and try again."


def test_too_many_tokens_are_refused_with_both_numbers(emulator: Running) -> None:
    assert refusal(emulator, {"inputText": "a " * 9278}) == (
        "400 Bad Request: Too many input tokens. Max input tokens: 8192, request input token count: 9279 "
    )


def test_a_text_of_exactly_8192_tokens_is_embedded(emulator: Running) -> None:
    assert emulator.invoke(TITAN, {"inputText": "a " * 8191}).json["inputTextTokenCount"] == 8192


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputText":"first","inputText":"hello"}',  # the last of equal keys wins
        b'\n {"inputText"\t:"hel\\u006co"}\r\n',
    ],
)
def test_json_is_read_leniently(emulator: Running, body: bytes) -> None:
    assert emulator.invoke(TITAN, body).json["embedding"] == expected_vectors(TITAN, {"inputText": "hello"})[0]


@pytest.mark.parametrize("text", ["\ud800", "a\udc00b", "\x00", "\ufeff", "\u202e", "\U0001f680", "e\u0301"])
def test_odd_characters_are_embedded(emulator: Running, text: str) -> None:
    answer = emulator.invoke(TITAN, {"inputText": text})

    assert answer.status == 200
    assert [answer.json["embedding"]] == expected_vectors(TITAN, {"inputText": text})


def test_an_application_profile_stands_for_the_model_it_was_registered_for(emulator: Running) -> None:
    answer = emulator.invoke(PROFILE_ARN, {"inputText": "hello"})

    assert answer.json["embedding"] == expected_vectors(TITAN, {"inputText": "hello"})[0]


V1_AND_G1 = ["amazon.titan-embed-text-v1", "amazon.titan-embed-g1-text-02"]


@pytest.mark.parametrize("model", V1_AND_G1)
@pytest.mark.parametrize(("text", "tokens"), [("Hello, world!", 4), ("This is an embedding test.", 6)])
def test_v1_answers_with_1536_numbers_and_the_recorded_tokens(
    emulator: Running, model: str, text: str, tokens: int
) -> None:
    answer = emulator.invoke(model, {"inputText": text})

    assert list(answer.json) == ["embedding", "inputTextTokenCount"]
    assert [answer.json["embedding"]] == expected_vectors(model, {"inputText": text})
    assert (len(answer.json["embedding"]), answer.json["inputTextTokenCount"]) == (1536, tokens)
    assert answer.headers["x-amzn-bedrock-input-token-count"] == str(tokens)


@pytest.mark.parametrize("text", ["hello", " ", "東京", "a longer text about red bicycles"])
def test_v1_is_not_brought_to_length_one(emulator: Running, text: str) -> None:
    numbers = emulator.invoke(V1_AND_G1[0], {"inputText": text}).json["embedding"]

    assert 17.9 < np.linalg.norm(numbers) < 18.9


def test_texts_of_v1_have_lengths_of_their_own() -> None:
    lengths = {round(float(np.linalg.norm(expected_vectors(V1_AND_G1[0], {"inputText": t})[0])), 2) for t in "abcdefgh"}

    assert len(lengths) > 4


def test_numbers_of_v1_are_bfloat16_printed_in_full(emulator: Running) -> None:
    text = emulator.invoke(V1_AND_G1[0], {"inputText": "The style of numbers"}).body.partition(b"[")[2].partition(b"]")

    numbers = [float(number) for number in text[0].split(b",")]
    bits = np.array(numbers, np.float32).view(np.uint32)
    assert (np.array(numbers, np.float32).astype(np.float64) == numbers).all()
    assert (bits & 0xFFFF == 0).all()


def test_both_ids_of_v1_give_the_same_vectors_and_not_those_of_v2() -> None:
    one, other = (np.array(expected_vectors(model, {"inputText": "hello"})[0]) for model in V1_AND_G1)
    v2 = np.array(expected_vectors(TITAN, {"inputText": "hello"})[0])

    assert (one == other).all()
    assert abs(one[:1024] @ v2) / np.linalg.norm(one[:1024]) < 0.15


@pytest.mark.parametrize("model", V1_AND_G1)
@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({}, "required key [inputText] not found"),
        ({"inputText": ["a"]}, "expected type: String, found: JSONArray"),
        ({"inputText": ""}, "expected minLength: 1, actual: 0"),
        ({"inputText": "x" * 50_001}, "expected maxLength: 50000, actual: 50001"),
        ({"inputText": "x", "dimensions": 1536}, "extraneous key [dimensions] is not permitted"),
        (
            {"inputText": "x", "normalize": True, "embeddingTypes": ["float"]},
            "#: extraneous key [normalize] is not permitted#: extraneous key [embeddingTypes] is not permitted",
        ),
    ],
)
def test_v1_has_only_a_text(emulator: Running, model: str, body: dict[str, Any], details: str) -> None:
    answer = emulator.invoke(model, body)

    assert answer.status == 400
    assert answer.json["message"] == f"Malformed input request: {details}, please reformat your input and try again."


def test_v1_reads_8192_tokens(emulator: Running) -> None:
    assert emulator.invoke(V1_AND_G1[0], {"inputText": "a " * 8192}).json["inputTextTokenCount"] == 8192
    assert emulator.invoke(V1_AND_G1[0], {"inputText": "a " * 8193}).json["message"] == (
        "400 Bad Request: Too many input tokens. Max input tokens: 8192, request input token count: 8193 "
    )
