"""Cohere Embed v3 over HTTP: shapes of answers, refusals, truncation."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
import pytest

from bedrock_emulator import expected_vectors

from .conftest import ENGLISH, MULTILINGUAL, Running
from .drawing import encode, plain, png_header, scene, shape, uri

TYPES = ["float", "int8", "uint8", "binary", "ubinary"]


IMAGE = uri(encode(shape("circle", "red").resize((64, 48))))
PHOTO = uri(encode(scene(1), "JPEG"), "jpeg")


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


@pytest.mark.parametrize("types", [["float"], ["int8"], TYPES])
def test_with_embedding_types_the_answer_is_by_type(emulator: Running, types: list[str]) -> None:
    answer = emulator.invoke(
        ENGLISH, {"texts": ["one", "two"], "input_type": "search_document", "embedding_types": types}
    ).json

    assert answer["response_type"] == "embeddings_by_type"
    assert list(answer["embeddings"]) == types
    assert all(len(rows) == 2 for rows in answer["embeddings"].values())


def test_output_types_agree_with_each_other(emulator: Running) -> None:
    found = emulator.invoke(
        MULTILINGUAL, {"texts": ["hello"], "input_type": "search_query", "embedding_types": TYPES}
    ).json["embeddings"]

    rows = {name: np.array(found[name][0]) for name in TYPES}
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
        ({"images": [IMAGE, PHOTO], "input_type": "image"}, "#/images: expected maximum item count: 1, found: 2"),
        ({"images": IMAGE, "input_type": "image"}, "#/images: expected type: JSONArray, found: String"),
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


@pytest.mark.parametrize(
    ("image", "facts"),
    [
        (IMAGE, {"width": 64, "height": 48, "format": "png", "bit_depth": 24}),
        (uri(encode(plain("red").convert("RGBA"))), {"width": 64, "height": 64, "format": "png", "bit_depth": 32}),
        (PHOTO, {"width": 320, "height": 240, "format": "jpeg", "bit_depth": 24}),
        (
            uri(encode(plain("red").convert("L"), "JPEG"), "jpeg"),
            {"width": 64, "height": 64, "format": "jpeg", "bit_depth": 8},
        ),
    ],
)
@pytest.mark.parametrize("model", [ENGLISH, MULTILINGUAL])
def test_an_image_is_answered_with_its_facts(emulator: Running, model: str, image: str, facts: dict[str, Any]) -> None:
    answer = emulator.invoke(model, {"images": [image], "input_type": "image"})

    assert list(answer.json) == ["embeddings", "id", "images", "response_type", "texts"]
    assert (answer.json["images"], answer.json["texts"]) == ([facts], [])
    assert answer.json["response_type"] == "embeddings_floats"
    assert list(answer.json["images"][0]) == list(facts)
    assert "x-amzn-bedrock-input-token-count" not in answer.headers
    (row,) = emulator.journal()
    assert (row["items"], row["tokens"]) == (1, None)


def test_a_picture_has_the_same_vector_in_any_file(emulator: Running) -> None:
    bodies = [{"images": [image], "input_type": "image"} for image in (uri(encode(scene(1))), PHOTO)]

    one, other = (np.array(emulator.invoke(ENGLISH, body).json["embeddings"][0]) for body in bodies)

    assert 0.95 < float(one @ other) < 1


def test_an_image_has_a_unit_vector_of_its_own(emulator: Running) -> None:
    bodies: list[dict[str, Any]] = [{"images": [image], "input_type": "image"} for image in (IMAGE, PHOTO)]
    bodies.append({"texts": [IMAGE, ""], "input_type": "search_document"})

    rows = np.array([row for body in bodies for row in emulator.invoke(ENGLISH, body).json["embeddings"]])

    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0, abs=3e-4)
    assert np.abs(rows @ rows.T - np.eye(len(rows))).max() < 0.3


def test_an_image_has_its_vector_in_every_output_type(emulator: Running) -> None:
    body = {"images": [IMAGE], "input_type": "image", "embedding_types": TYPES}

    answer = emulator.invoke(ENGLISH, body).json

    assert answer["response_type"] == "embeddings_by_type"
    assert {name: [len(row) for row in rows] for name, rows in answer["embeddings"].items()} == {
        "float": [1024],
        "int8": [1024],
        "uint8": [1024],
        "binary": [128],
        "ubinary": [128],
    }


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("https://example.com/cat.png", "The image must be a data URI of image/png or image/jpeg in base64."),
        (uri(b"GIF89a", "gif"), "The image must be a data URI of image/png or image/jpeg in base64."),
        ("data:image/png;base64", "The image is none of png, jpeg."),
        ("data:image/png;base64,iVBOR*w0", "The image is not valid base64."),
        ("data:image/png;base64,東京", "The image is not valid base64."),
        (uri(b"no image at all"), "The image is none of png, jpeg."),
        (uri(encode(plain("red"), "WEBP")), "The image is none of png, jpeg."),
        (uri(encode(scene(1))[:2000]), "The image cannot be decoded."),
        (uri(encode(scene(1), "JPEG")[:2000], "jpeg"), "The image cannot be decoded."),
        (uri(png_header(50_000, 50_000)), "The image has 50000 x 50000 pixels."),
        (uri(encode(plain("red")), "jpeg"), "The image is a png, its data URI says jpeg."),
        (uri(encode(plain("red"), "JPEG")), "The image is a jpeg, its data URI says png."),
    ],
)
def test_what_is_no_image_is_refused(emulator: Running, image: str, message: str) -> None:
    assert refusal(emulator, {"images": [image], "input_type": "image"}) == message


def test_an_image_may_have_five_million_bytes(emulator: Running) -> None:
    largest, larger = (
        {"images": [uri(encode(plain("red")).ljust(size, b"x"))], "input_type": "image"}
        for size in (5_000_000, 5_000_001)
    )

    assert emulator.invoke(ENGLISH, largest).status == 200
    assert refusal(emulator, larger) == "The image is 5000001 bytes large, the maximum is 5000000."


def test_no_images_are_refused_as_no_texts_are(emulator: Running) -> None:
    assert refusal(emulator, {"images": [], "input_type": "image"}) == (
        "Invalid parameter combination. Please check and try again."
    )


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
@pytest.mark.parametrize(
    "inputs",
    [
        {"texts": ["Hello", "", "東京", "\ud800"], "input_type": "classification"},
        {"images": [PHOTO], "input_type": "image"},
    ],
    ids=["texts", "image"],
)
def test_expected_vectors_equal_the_wire_bit_for_bit(
    emulator: Running, model: str, types: list[str] | None, inputs: dict[str, Any]
) -> None:
    body = {**inputs, "embedding_types": types} if types else inputs

    found = emulator.invoke(model, body).json["embeddings"]

    rows = found if types is None else found[min(types, key=TYPES.index)]
    assert rows == expected_vectors(model, body)
