"""Titan Multimodal Embeddings over HTTP: shape of answers, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from bedrock_emulator import expected_vectors

from .conftest import Running
from .drawing import BLUE, RED, base64, encode, plain, png_header, scene

MODEL = "amazon.titan-embed-image-v1"
TEXT = {"inputText": "a red bicycle"}
IMAGE = {"inputImage": base64(RED)}


def refusal(emulator: Running, body: Any) -> str:
    answer = emulator.invoke(MODEL, body)
    assert answer.status == 400
    assert answer.headers["x-amzn-errortype"].startswith("ValidationException:")
    return str(answer.json["message"])


@pytest.mark.parametrize(("body", "tokens"), [(TEXT, 4), (IMAGE, None), (TEXT | IMAGE, 4)])
def test_the_answer_is_one_vector_and_its_tokens_are_only_in_the_body(
    emulator: Running, body: dict[str, Any], tokens: int | None
) -> None:
    answer = emulator.invoke(MODEL, body)

    assert list(answer.json) == ["embedding", "inputTextTokenCount", "message"]
    assert (len(answer.json["embedding"]), answer.json["inputTextTokenCount"]) == (1024, tokens)
    assert answer.json["message"] is None
    assert "x-amzn-bedrock-input-token-count" not in answer.headers
    (row,) = emulator.journal()
    assert (row["tokens"], row["items"]) == (tokens, 1)


@pytest.mark.parametrize("body", [TEXT, IMAGE, TEXT | IMAGE, {"inputImage": base64(encode(scene(1), "JPEG"))}])
@pytest.mark.parametrize("config", [{}, {"embeddingConfig": {"outputEmbeddingLength": 384}}])
def test_expected_vectors_equal_the_wire_bit_for_bit(
    emulator: Running, body: dict[str, Any], config: dict[str, Any]
) -> None:
    assert [emulator.invoke(MODEL, body | config).json["embedding"]] == expected_vectors(MODEL, body | config)


@pytest.mark.parametrize("length", [256, 384, 1024])
@pytest.mark.parametrize("body", [TEXT, IMAGE])
def test_a_shorter_vector_is_a_prefix_of_length_one(body: dict[str, Any], length: int) -> None:
    (whole,) = expected_vectors(MODEL, body)
    (found,) = expected_vectors(MODEL, {**body, "embeddingConfig": {"outputEmbeddingLength": length}})

    assert found == pytest.approx(np.array(whole[:length]) / np.linalg.norm(whole[:length]), abs=1e-6)


@pytest.mark.parametrize("config", [{}, {"embeddingConfig": {"outputEmbeddingLength": 256}}])
def test_text_and_image_together_give_the_mean_of_their_vectors(config: dict[str, Any]) -> None:
    text, image, both = (np.array(expected_vectors(MODEL, body | config)[0]) for body in (TEXT, IMAGE, TEXT | IMAGE))

    assert both == pytest.approx((text + image) / 2, abs=1e-8)


def test_numbers_are_float32(emulator: Running) -> None:
    numbers = emulator.invoke(MODEL, TEXT).body.partition(b"[")[2].partition(b"]")[0].split(b",")

    values = np.array(numbers, np.float32)
    assert [float(str(value)) for value in values] == [float(number) for number in numbers]
    assert np.linalg.norm(values) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({}, "#: required key [inputText] not found#: required key [inputImage] not found"),
        ({"inputText": ["a"]}, "expected type: String, found: JSONArray"),
        ({"inputText": ""}, "expected minLength: 1, actual: 0"),
        ({"inputImage": None}, "expected type: String, found: Null"),
        ({**TEXT, "dimensions": 256}, "extraneous key [dimensions] is not permitted"),
        ({**TEXT, "embeddingConfig": 256}, "expected type: JSONObject, found: Integer"),
        ({**TEXT, "embeddingConfig": {"outputEmbeddingLength": 512}}, "512 is not a valid enum value"),
        ({**TEXT, "embeddingConfig": {"outputEmbeddingLength": "256"}}, "expected type: Integer, found: String"),
        ({**TEXT, "embeddingConfig": {"length": 256}}, "extraneous key [length] is not permitted"),
        (
            {"inputText": 1, "embeddingConfig": {"outputEmbeddingLength": 1}},
            "#/inputText: expected type: String, found: Integer"
            "#/embeddingConfig/outputEmbeddingLength: 1 is not a valid enum value",
        ),
    ],
)
def test_schema_violations_are_worded_as_for_titans_texts(
    emulator: Running, body: dict[str, Any], details: str
) -> None:
    assert refusal(emulator, body) == f"Malformed input request: {details}, please reformat your input and try again."


def test_an_empty_config_means_1024(emulator: Running) -> None:
    assert len(emulator.invoke(MODEL, {**TEXT, "embeddingConfig": {}}).json["embedding"]) == 1024


def test_a_text_has_256_tokens_at_most(emulator: Running) -> None:
    assert emulator.invoke(MODEL, {"inputText": "a " * 255}).json["inputTextTokenCount"] == 256
    assert refusal(emulator, {"inputText": "a " * 256}) == (
        "400 Bad Request: Too many input tokens. Max input tokens: 256, request input token count: 257 "
    )


@pytest.mark.parametrize(
    "image",
    [
        "data:image/png;base64," + base64(RED),
        "no base64!",
        base64(b"no image"),
        base64(encode(plain("red"), "GIF")),
        base64(encode(plain("red"), "WEBP")),
        base64(RED[:100]),
    ],
    ids=["data URI", "no base64", "no image", "gif", "webp", "cut off"],
)
@pytest.mark.parametrize("text", [{}, TEXT])
def test_a_bad_image_is_refused_also_beside_a_text(emulator: Running, image: str, text: dict[str, str]) -> None:
    assert refusal(emulator, {**text, "inputImage": image}) == (
        "400 Bad Request: The input image is not a valid base64 encoded PNG or JPEG. "
    )


@pytest.mark.parametrize(("size", "status"), [((2048, 2048), 200), ((2049, 10), 400), ((10, 2049), 400)])
def test_an_image_has_2048_pixels_a_side_at_most(emulator: Running, size: tuple[int, int], status: int) -> None:
    answer = emulator.invoke(MODEL, {"inputImage": base64(encode(Image.new("RGB", size)))})

    assert answer.status == status
    assert status == 200 or answer.json["message"] == "400 Bad Request: Image exceeds max pixels allowed. "


def test_a_bomb_is_refused(emulator: Running) -> None:
    assert refusal(emulator, {"inputImage": base64(png_header(50_000, 50_000))}) == (
        "400 Bad Request: Image exceeds max pixels allowed. "
    )


def test_different_images_have_different_vectors() -> None:
    red, blue = (np.array(expected_vectors(MODEL, {"inputImage": base64(data)})[0]) for data in (RED, BLUE))

    assert float(red @ blue) < 0.3
