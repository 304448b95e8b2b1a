"""Cohere Embed v4 over HTTP: texts, images and mixtures, output types, refusals."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from PIL import Image

from bedrock_emulator import expected_vectors

from .conftest import ENGLISH, Running
from .drawing import BLUE, RED, encode, plain, png_header, scene, uri

MODEL = "cohere.embed-v4:0"
TYPES = ["float", "int8", "uint8", "binary", "ubinary"]
IMAGE, OTHER = uri(RED), uri(BLUE)
MALFORMED = "Malformed request. Please check your parameter/values and try again."


def texts(*values: str, purpose: str = "search_document", **members: Any) -> dict[str, Any]:
    return {"input_type": purpose, "texts": list(values), **members}


def images(*values: str, purpose: str = "search_document", **members: Any) -> dict[str, Any]:
    return {"input_type": purpose, "images": list(values), **members}


def mixed(*items: list[Any], **members: Any) -> dict[str, Any]:
    return {"input_type": "search_document", "inputs": [{"content": item} for item in items], **members}


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def shown(image: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": image}


def rows(body: dict[str, Any]) -> Any:
    return np.array(expected_vectors(MODEL, body))


def refusal(emulator: Running, body: Any) -> str:
    answer = emulator.invoke(MODEL, body)
    assert answer.status == 400, answer.json
    assert answer.headers["x-amzn-errortype"].startswith("ValidationException:")
    return str(answer.json["message"])


def test_the_answer_is_by_type_also_when_no_type_was_asked_for(emulator: Running) -> None:
    answer = emulator.invoke(MODEL, texts("Hello", "world")).json

    assert list(answer) == ["embeddings", "id", "response_type", "texts"]
    assert list(answer["embeddings"]) == ["float"]
    assert [len(row) for row in answer["embeddings"]["float"]] == [1536, 1536]
    assert answer["response_type"] == "embeddings_by_type"
    assert answer["texts"] == ["Hello", "world"]
    assert UUID(answer["id"])


@pytest.mark.parametrize("types", [["float"], ["int8"], ["uint8", "float"], ["ubinary", "binary"], TYPES])
@pytest.mark.parametrize(
    "body",
    [
        texts("Hello", "", "東京", "\ud800", purpose="classification"),
        images(IMAGE, OTHER),
        mixed([said("a"), shown(IMAGE)]),
    ],
    ids=["texts", "images", "inputs"],
)
def test_expected_vectors_equal_the_wire_bit_for_bit(emulator: Running, body: dict[str, Any], types: list[str]) -> None:
    body = {**body, "embedding_types": types}

    found = emulator.invoke(MODEL, body).json["embeddings"]

    assert sorted(found) == sorted(types)
    assert found[min(types, key=TYPES.index)] == expected_vectors(MODEL, body)


@pytest.mark.parametrize("dimensions", [256, 512, 1024, 1536])
def test_output_types_have_their_widths_and_agree(emulator: Running, dimensions: int) -> None:
    body = texts("a red bicycle", purpose="search_query", embedding_types=TYPES, output_dimension=dimensions)

    found = emulator.invoke(MODEL, body).json["embeddings"]

    row = {name: np.array(found[name][0]) for name in TYPES}
    assert [len(row[name]) for name in TYPES] == [dimensions] * 3 + [dimensions // 8] * 2
    assert (row["uint8"] - 128 == row["int8"]).all()
    assert (row["ubinary"] - 128 == row["binary"]).all()
    assert (np.unpackbits(row["ubinary"].astype(np.uint8)) == (row["float"] > 0)).all()
    assert np.corrcoef(row["int8"], row["float"])[0, 1] > 0.99


def test_numbers_are_bfloat16_printed_as_float32(emulator: Running) -> None:
    body = emulator.invoke(MODEL, texts("some words to embed")).body

    numbers = body.partition(b"[[")[2].partition(b"]]")[0].decode().split(",")
    values = np.array(numbers, np.float32)
    assert (values.view(np.uint32) & 0xFFFF == 0).all()
    assert [str(value) for value in values] == numbers
    assert np.linalg.norm(values.astype(np.float64)) == pytest.approx(1, abs=4e-3)


@pytest.mark.parametrize("dimensions", [256, 512, 1024])
def test_fewer_dimensions_are_a_prefix_brought_to_length_one(dimensions: int) -> None:
    whole, found = rows(texts("hello"))[0], rows(texts("hello", output_dimension=dimensions))[0]

    assert found == pytest.approx(whole[:dimensions] / np.linalg.norm(whole[:dimensions]), rel=2**-7)


@pytest.mark.parametrize(
    ("values", "tokens"),
    [
        (["hello", "world"], 2),
        (["Hello, world!"], 4),
        (["this sentence has exactly seven words inside"] * 96, 768),
        ([""], 1),
    ],
)
def test_tokens_are_counted_as_recorded_and_only_in_the_header(
    emulator: Running, values: list[str], tokens: int
) -> None:
    answer = emulator.invoke(MODEL, texts(*values))

    assert answer.headers["x-amzn-bedrock-input-token-count"] == str(tokens)
    (row,) = emulator.journal()
    assert (row["tokens"], row["items"]) == (tokens, len(values))


@pytest.mark.parametrize(
    ("size", "tokens"),
    [((784, 100), 400), ((10, 10), 3136 * 4 // 784), ((2000, 2000), 2_458_624 * 4 // 784)],
    ids=["784 pixels are 4", "small ones are scaled up", "large ones are scaled down"],
)
def test_tokens_of_an_image_follow_its_pixels(emulator: Running, size: tuple[int, int], tokens: int) -> None:
    image = uri(encode(Image.new("RGB", size)))

    alone = emulator.invoke(MODEL, images(image)).headers
    both = emulator.invoke(MODEL, mixed([said("hello"), shown(image)])).headers

    assert alone["x-amzn-bedrock-input-token-count"] == str(tokens)
    assert both["x-amzn-bedrock-input-token-count"] == str(tokens + 1)


def test_vectors_come_in_the_order_of_the_texts(emulator: Running) -> None:
    values = [f"text number {number}" for number in range(96)]

    found = emulator.invoke(MODEL, texts(*values)).json["embeddings"]["float"]

    assert found == [expected_vectors(MODEL, texts(value))[0] for value in values]


@pytest.mark.parametrize("purpose", ["search_query", "classification", "clustering"])
def test_a_purpose_turns_the_vector_a_little(purpose: str) -> None:
    document, other = rows(texts("a red bicycle"))[0], rows(texts("a red bicycle", purpose=purpose))[0]

    assert 0.95 < float(document @ other) < 0.995


def test_several_images_are_one_vector_for_the_purpose_image_and_one_each_for_another(emulator: Running) -> None:
    """Reported from live use, and easy to walk into."""
    many = (IMAGE, OTHER, uri(encode(scene(1))))

    together = emulator.invoke(MODEL, images(*many, purpose="image"))
    apart = emulator.invoke(MODEL, images(*many))

    assert (len(together.json["embeddings"]["float"]), len(apart.json["embeddings"]["float"])) == (1, 3)
    similarities = np.array(apart.json["embeddings"]["float"]) @ together.json["embeddings"]["float"][0]
    assert (similarities > 0.4).all()
    assert [row["items"] for row in emulator.journal()] == [3, 3]


def test_one_image_is_the_same_for_image_and_for_a_document() -> None:
    assert (rows(images(IMAGE, purpose="image")) == rows(images(IMAGE))).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_images_of_four_formats_are_taken(emulator: Running, kind: str) -> None:
    data = encode(plain("red"), kind)

    assert emulator.invoke(MODEL, images(uri(data, kind.lower()))).status == 200
    assert refusal(emulator, images(uri(data, "png" if kind != "PNG" else "webp"))) == MALFORMED


def test_image_jpg_is_taken_for_jpeg(emulator: Running) -> None:
    assert emulator.invoke(MODEL, images(uri(encode(plain("red"), "JPEG"), "jpg"))).status == 200


def test_a_mixture_is_one_vector_near_its_parts(emulator: Running) -> None:
    body = mixed([said("page 3 of the manual"), shown(IMAGE)], [said("alone")], [shown({"url": OTHER})])

    answer = emulator.invoke(MODEL, body).json

    assert list(answer) == ["embeddings", "id", "inputs", "response_type"]
    assert json.dumps(answer["inputs"]) == json.dumps(body["inputs"])
    fused, alone, other = answer["embeddings"]["float"]
    text, image = rows(texts("page 3 of the manual"))[0], rows(images(IMAGE))[0]
    assert min(float(text @ fused), float(image @ fused)) > 0.6
    assert [alone] == expected_vectors(MODEL, texts("alone"))
    assert [other] == expected_vectors(MODEL, images(OTHER))


def test_the_order_of_a_mixture_matters() -> None:
    one, other = rows(mixed([said("a caption"), shown(IMAGE)], [shown(IMAGE), said("a caption")]))

    assert 0.9 < float(one @ other) < 0.9999


def test_nothing_is_echoed_of_images(emulator: Running) -> None:
    assert list(emulator.invoke(MODEL, images(IMAGE)).json) == ["embeddings", "id", "response_type"]


@pytest.mark.parametrize(
    ("truncate", "kept"),
    [
        ({}, "first two"),
        ({"truncate": "END"}, "first two"),
        ({"truncate": "RIGHT"}, "first two"),
        ({"truncate": "START"}, "three last"),
        ({"truncate": "LEFT"}, "three last"),
    ],
)
def test_max_tokens_cuts_each_text(emulator: Running, truncate: dict[str, str], kept: str) -> None:
    body = texts("first two three last", "one", max_tokens=2, **truncate)

    answer = emulator.invoke(MODEL, body)

    assert answer.json["embeddings"]["float"] == expected_vectors(MODEL, texts(kept, "one"))
    assert answer.headers["x-amzn-bedrock-input-token-count"] == "3"
    assert answer.json["texts"] == body["texts"]


def test_a_text_over_max_tokens_is_refused_with_none(emulator: Running) -> None:
    body = texts("one", "first two three last", max_tokens=2, truncate="NONE")

    assert refusal(emulator, body) == "Input is too long for requested model."


def test_a_text_has_128000_tokens_at_most(emulator: Running) -> None:
    long = "a " * 128_001

    assert refusal(emulator, texts(long, truncate="NONE")) == "Input is too long for requested model."
    cut = emulator.invoke(MODEL, texts(long, truncate="END"))
    assert cut.headers["x-amzn-bedrock-input-token-count"] == "128000"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputText": "x"},
        {"texts": ["x"]},
        {"input_type": "search_document"},
        texts(),
        texts(*["x"] * 97),
        images(*[IMAGE] * 97),
        mixed(*[[said("x")]] * 97),
        images(),
        mixed(),
        texts("x", purpose="query"),
        texts("x", purpose="image"),
        texts("x") | {"input_type": None},
        texts("x") | {"texts": "x"},
        texts("x") | {"texts": ["x", 1]},
        texts("x", images=[IMAGE]),
        texts("x", inputs=[{"content": [said("x")]}]),
        texts("x", model=MODEL),
        texts("x", dimensions=256),
        texts("x", output_dimension=384),
        texts("x", output_dimension="256"),
        texts("x", output_dimension=256.0),
        texts("x", max_tokens=0),
        texts("x", max_tokens=128_001),
        texts("x", max_tokens=True),
        texts("x", truncate="MIDDLE"),
        texts("x", truncate=None),
        texts("x", embedding_types=[]),
        texts("x", embedding_types="float"),
        texts("x", embedding_types=["float", "base64"]),
        texts("x", embedding_types=[["float"]]),
        mixed([]),
        mixed([said("x") | {"more": 1}]),
        mixed([{"type": "text"}]),
        mixed([{"type": "video", "video": "x"}]),
        mixed([shown({"url": IMAGE, "more": 1})]),
        mixed([shown({})]),
        mixed([shown(None)]),
        mixed(["x"]),
        mixed([said("x"), shown("https://example.com/cat.png")]),
        {"input_type": "search_document", "inputs": [said("x")]},
        {"input_type": "search_document", "inputs": [{"content": [said("x")], "more": 1}]},
        images("https://example.com/cat.png"),
        images(IMAGE.partition(",")[2]),
        images("data:image/svg+xml;base64,AAAA"),
        images("data:image/png;base64"),
        images("data:image/png;base64,iVBOR*w0"),
        images(uri(b"no image")),
        images(uri(RED[:100])),
        images(uri(png_header(50_000, 50_000))),
        images(IMAGE, 1),  # type: ignore[arg-type]
    ],
)
def test_whatever_is_wrong_is_told_in_the_same_words(emulator: Running, body: dict[str, Any]) -> None:
    assert refusal(emulator, body) == MALFORMED


def test_an_image_may_have_five_million_bytes(emulator: Running) -> None:
    largest, larger = (images(uri(RED.ljust(size, b"x"))) for size in (5_000_000, 5_000_001))

    assert emulator.invoke(MODEL, largest).status == 200
    assert refusal(emulator, larger) == MALFORMED


@pytest.mark.parametrize("prefix", ["us.", "eu.", "global."])
def test_a_profile_gives_the_models_vectors(prefix: str) -> None:
    assert expected_vectors(prefix + MODEL, texts("hello")) == expected_vectors(MODEL, texts("hello"))


def test_the_space_is_not_that_of_v3() -> None:
    (other,) = expected_vectors(ENGLISH, {"texts": ["hello world"], "input_type": "search_document"})

    assert abs(float(rows(texts("hello world", output_dimension=1024))[0] @ other)) < 0.15
