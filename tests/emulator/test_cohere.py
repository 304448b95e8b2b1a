"""Cohere Embed v3 over HTTP: shapes of answers, refusals, truncation."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
import pytest

from bedrock_emulator import expected_vectors

from .conftest import ENGLISH, MULTILINGUAL, Running

IMAGE = "data:image/png;base64,iVBORw0KGgo="


def refusal(emulator: Running, body: Any) -> str:
    answer = emulator.invoke(ENGLISH, body)
    assert answer.status == 400
    assert answer.headers["x-amzn-errortype"].startswith("ValidationException:")
    return str(answer.json["message"])


def test_without_embedding_types_the_answer_is_a_plain_list(emulator: Running) -> None:
    answer = emulator.invoke(ENGLISH, {"texts": ["Hello, world!"], "input_type": "search_document"})

    assert list(answer.json) == ["embeddings", "id", "response_type", "texts"]
    assert answer.json["response_type"] == "embeddings_floats"
    assert len(answer.json["embeddings"]) == 1
    assert UUID(answer.json["id"])
    assert answer.body.endswith(b'"response_type":"embeddings_floats","texts":["hello, world!"]}')


@pytest.mark.parametrize("types", [["float"], ["int8"], ["float", "int8", "uint8", "binary", "ubinary"]])
def test_with_embedding_types_the_answer_is_by_type(emulator: Running, types: list[str]) -> None:
    answer = emulator.invoke(
        ENGLISH, {"texts": ["one", "two"], "input_type": "search_document", "embedding_types": types}
    ).json

    assert answer["response_type"] == "embeddings_by_type"
    assert list(answer["embeddings"]) == types
    assert all(len(rows) == 2 for rows in answer["embeddings"].values())


def test_output_types_agree_with_each_other(emulator: Running) -> None:
    types = ["float", "int8", "uint8", "binary", "ubinary"]
    found = emulator.invoke(
        MULTILINGUAL, {"texts": ["hello"], "input_type": "search_query", "embedding_types": types}
    ).json["embeddings"]

    rows = {name: np.array(found[name][0]) for name in types}
    assert {name: len(row) for name, row in rows.items()} == {
        "float": 1024,
        "int8": 1024,
        "uint8": 1024,
        "binary": 128,
        "ubinary": 128,
    }
    assert (rows["uint8"] - 128 == rows["int8"]).all()
    assert (rows["ubinary"] - 128 == rows["binary"]).all()
    assert (np.unpackbits(rows["ubinary"].astype(np.uint8)) == (rows["float"] > 0)).all()
    assert np.corrcoef(rows["int8"], rows["float"])[0, 1] > 0.998


def test_numbers_are_half_precision_printed_as_float32(emulator: Running) -> None:
    rows = emulator.invoke(ENGLISH, {"texts": ["some words to embed"], "input_type": "search_document"})

    numbers = rows.body.partition(b"[[")[2].partition(b"]]")[0].decode().split(",")
    values = np.array(numbers, np.float32)
    assert (values.astype(np.float16).astype(np.float32) == values).all()
    assert [str(value) for value in values] == numbers
    assert np.linalg.norm(values.astype(np.float64)) == pytest.approx(1.0, abs=3e-4)


@pytest.mark.parametrize(("model", "echo"), [(ENGLISH, "hello, wÖrld!".lower()), (MULTILINGUAL, "Hello, WÖrld!")])
def test_only_the_english_model_echoes_in_lower_case(emulator: Running, model: str, echo: str) -> None:
    answer = emulator.invoke(model, {"texts": ["Hello, WÖrld!"], "input_type": "search_document"})

    assert answer.json["texts"] == [echo]


def test_vectors_come_in_the_order_of_the_texts(emulator: Running) -> None:
    texts = [f"text number {number}" for number in range(96)]

    answer = emulator.invoke(ENGLISH, {"texts": texts, "input_type": "search_document"}).json

    alone = [expected_vectors(ENGLISH, {"texts": [text], "input_type": "search_document"})[0] for text in texts]
    assert answer["embeddings"] == alone


@pytest.mark.parametrize(
    ("body", "details"),
    [
        (
            {"inputText": "x"},
            "#: required key [images] not found#: required key [texts] not found#: required key [texts] not found"
            "#: required key [texts] not found#: required key [texts] not found#: required key [input_type] not found"
            "#: extraneous key [inputText] is not permitted",
        ),
        (
            {"texts": ["x"]},
            "#: required key [input_type] not found#: required key [images] not found"
            "#/texts: false schema always fails",
        ),
        (
            {"texts": ["x"], "input_type": "image"},
            "#: required key [images] not found#/texts: false schema always fails",
        ),
        (
            {"images": [IMAGE], "input_type": "search_document"},
            "#: required key [texts] not found#/images: false schema always fails",
        ),
        ({"texts": ["x"], "images": [IMAGE], "input_type": "image"}, "#/texts: false schema always fails"),
        ({"input_type": "search_query"}, "#: required key [texts] not found"),
        ({"texts": ["x"], "input_type": "query"}, "#/input_type: query is not a valid enum value"),
        ({"texts": ["x"], "input_type": None}, "#/input_type: expected type: String, found: Null"),
        ({"texts": "x", "input_type": "search_query"}, "#/texts: expected type: JSONArray, found: String"),
        ({"texts": ["a", 1], "input_type": "search_query"}, "#/texts/1: expected type: String, found: Integer"),
        ({"texts": ["a"] * 97, "input_type": "search_query"}, "#/texts: expected maximum item count: 96, found: 97"),
        ({"texts": ["x" * 4680], "input_type": "search_query"}, "#/texts/0: expected maxLength: 2048, actual: 4680"),
        (
            {"texts": ["x" * 4680], "input_type": "search_query", "truncate": "END"},
            "#/texts/0: expected maxLength: 2048, actual: 4680",
        ),
        (
            {"texts": ["x" * 3000, "y", "z" * 2049], "input_type": "search_query"},
            "#/texts/0: expected maxLength: 2048, actual: 3000#/texts/2: expected maxLength: 2048, actual: 2049",
        ),
        (
            {"texts": ["x"], "input_type": "search_query", "truncate": "LEFT"},
            "#/truncate: LEFT is not a valid enum value",
        ),
        (
            {"texts": ["x"], "input_type": "search_query", "embedding_types": ["float", "base64"]},
            "#/embedding_types/1: base64 is not a valid enum value",
        ),
        (
            {"texts": ["x"], "input_type": "search_query", "output_dimension": 256},
            "#: extraneous key [output_dimension] is not permitted",
        ),
    ],
)
def test_schema_violations_are_worded_as_bedrock_words_them(
    emulator: Running, body: dict[str, Any], details: str
) -> None:
    assert refusal(emulator, body) == (f"Malformed input request: {details}, please reformat your input and try again.")


def test_an_empty_list_is_refused_and_an_empty_text_is_not(emulator: Running) -> None:
    assert refusal(emulator, {"texts": [], "input_type": "search_query"}) == (
        "Invalid parameter combination. Please check and try again."
    )
    assert emulator.invoke(ENGLISH, {"texts": [""], "input_type": "search_query"}).status == 200


def test_images_are_refused_clearly(emulator: Running) -> None:
    message = refusal(emulator, {"images": [IMAGE], "input_type": "image"})

    assert "does not embed images" in message


@pytest.mark.parametrize("truncate", [{}, {"truncate": "NONE"}])
def test_over_512_tokens_is_too_long_unless_cut(emulator: Running, truncate: dict[str, str]) -> None:
    assert refusal(emulator, {"texts": ["ok", "a " * 513], "input_type": "search_query", **truncate}) == (
        "Input is too long for requested model."
    )


@pytest.mark.parametrize(("truncate", "kept"), [("END", "first " + "a " * 511), ("START", "a " * 511 + "last")])
def test_truncate_cuts_to_512_tokens(emulator: Running, truncate: str, kept: str) -> None:
    long = "first " + "a " * 512 + "last"
    body = {"input_type": "search_query", "truncate": truncate}

    answer = emulator.invoke(MULTILINGUAL, {"texts": [long], **body})

    assert answer.headers["x-amzn-bedrock-input-token-count"] == "512"
    assert answer.json["embeddings"] == expected_vectors(MULTILINGUAL, {"texts": [kept.strip()], **body})
    assert answer.json["texts"] == [long]


@pytest.mark.parametrize("model", [ENGLISH, MULTILINGUAL])
@pytest.mark.parametrize("types", [None, ["float"], ["int8", "float"], ["uint8"], ["ubinary", "binary"]])
def test_expected_vectors_equal_the_wire_bit_for_bit(emulator: Running, model: str, types: list[str] | None) -> None:
    body: dict[str, Any] = {"texts": ["Hello", "", "東京", "\ud800"], "input_type": "classification"}
    if types:
        body["embedding_types"] = types

    found = emulator.invoke(model, body).json["embeddings"]

    rows = (
        found if types is None else found[sorted(types, key=["float", "int8", "uint8", "binary", "ubinary"].index)[0]]
    )
    assert rows == expected_vectors(model, body)
