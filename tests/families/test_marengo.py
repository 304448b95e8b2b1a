"""TwelveLabs Marengo 2.7 and 3.0: what is sent, and every shape of what comes back."""

from __future__ import annotations

from typing import Any

import pytest

from embedrock.errors import BadRequest
from embedrock.families.answer import Answer
from embedrock.inputs import Item

from .asking import (
    JPEG,
    MARENGO_2,
    MARENGO_3,
    PNG,
    S3_JPEG,
    S3_PNG,
    TOKENS_HEADER,
    body,
    check,
    fused,
    parse,
    refuses,
)

VECTOR = b"[0.011,-0.027, 1E-4]"
MODELS = [MARENGO_2, MARENGO_3]

PNG_SOURCE = {"base64String": "cG5n"}
JPEG_SOURCE = {"base64String": "anBlZw=="}
S3_SOURCE = {"s3Location": {"uri": "s3://bucket/a.png"}}
S3_JPEG_SOURCE = {"s3Location": {"uri": "s3://bucket/b.jpg"}}


# ---------------------------------------------------------------- what is sent


@pytest.mark.parametrize(
    "item, params, sent",
    [
        ("a dog", {}, {"inputType": "text", "inputText": "a dog", "textTruncate": "none"}),
        ("a dog", {"truncate": "end"}, {"inputType": "text", "inputText": "a dog", "textTruncate": "end"}),
        ("a dog", {"input_type": "text"}, {"inputType": "text", "inputText": "a dog", "textTruncate": "none"}),
        (PNG, {}, {"inputType": "image", "mediaSource": PNG_SOURCE}),
        (PNG, {"truncate": "end", "input_type": "image"}, {"inputType": "image", "mediaSource": PNG_SOURCE}),
        (S3_PNG, {}, {"inputType": "image", "mediaSource": S3_SOURCE}),
    ],
    ids=str,
)
def test_2_7_is_sent_a_flat_body(item: Item, params: dict[str, Any], sent: dict[str, Any]) -> None:
    """A text is never cut unless asked for, although that is the model's own default."""
    assert body(MARENGO_2, item, **params) == sent
    assert body(MARENGO_2, item, dimensions=1024, **params) == sent


def named(number: int, source: dict[str, Any]) -> dict[str, Any]:
    return {"name": f"image{number}", "mediaType": "image", **source}


@pytest.mark.parametrize(
    "item, kind, content",
    [
        ("a dog", "text", {"inputText": "a dog"}),
        (PNG, "image", {"mediaSource": PNG_SOURCE}),
        (S3_PNG, "image", {"mediaSource": S3_SOURCE}),
        (fused("red", PNG), "text_image", {"inputText": "red", "mediaSource": PNG_SOURCE}),
        (fused(JPEG, "red"), "text_image", {"inputText": "red", "mediaSource": JPEG_SOURCE}),
        (fused("red", S3_PNG), "text_image", {"inputText": "red", "mediaSource": S3_SOURCE}),
        (fused(PNG, JPEG), "multi_input", {"mediaSources": [named(1, PNG_SOURCE), named(2, JPEG_SOURCE)]}),
        (
            fused(PNG, "worn with", S3_JPEG),
            "multi_input",
            {
                "mediaSources": [named(1, PNG_SOURCE), named(2, S3_JPEG_SOURCE)],
                "inputText": "<@image1> worn with <@image2>",
            },
        ),
        (
            fused("red", PNG, "and blue"),
            "multi_input",
            {"mediaSources": [named(1, PNG_SOURCE)], "inputText": "red <@image1> and blue"},
        ),
        (
            fused("first", "second", JPEG, PNG),
            "multi_input",
            {
                "mediaSources": [named(1, JPEG_SOURCE), named(2, PNG_SOURCE)],
                "inputText": "first second <@image1> <@image2>",
            },
        ),
    ],
    ids=["text", "image", "s3", "pair", "turned", "s3 pair", "images", "around", "one image", "words first"],
)
def test_3_0_is_sent_a_body_named_by_its_kind(item: Item, kind: str, content: dict[str, Any]) -> None:
    """The placeholders of several images stand in the caller's order."""
    sent = {"inputType": kind, kind: content}

    assert body(MARENGO_3, item) == sent
    assert body(MARENGO_3, item, dimensions=512, input_type=kind) == sent
    assert body(MARENGO_3, item, inference_id="my call") == sent | {"inferenceId": "my call"}


@pytest.mark.parametrize("item", ["a", PNG, S3_PNG, fused("a", PNG), fused(PNG, PNG), fused("a", PNG, "b")])
def test_3_0_reads_any_mixture_with_an_image(item: Item) -> None:
    check(MARENGO_3, item)


def test_3_0_makes_no_vector_of_texts_alone() -> None:
    with pytest.raises(BadRequest) as caught:
        check(MARENGO_3, fused("a", "b"))

    assert (caught.value.code, caught.value.param) == ("unsupported_input_combination", None)


@pytest.mark.parametrize(
    "model, item, said",
    [
        (MARENGO_2, "a", "image"),
        (MARENGO_2, "a", "video"),
        (MARENGO_2, PNG, "text"),
        (MARENGO_2, S3_PNG, "audio"),
        (MARENGO_3, "a", "image"),
        (MARENGO_3, "a", "text_image"),
        (MARENGO_3, "a", "multi_input"),
        (MARENGO_3, PNG, "video"),
        (MARENGO_3, PNG, "text_image"),
        (MARENGO_3, fused("a", PNG), "multi_input"),
        (MARENGO_3, fused("a", PNG), "image"),
        (MARENGO_3, fused(PNG, PNG), "text_image"),
    ],
    ids=str,
)
def test_input_that_is_not_what_the_caller_says_is_refused(model: str, item: Item, said: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check(model, item, input_type=said)

    assert (caught.value.param, caught.value.code) == ("input_type", "invalid_value")


# ---------------------------------------------------------------- what comes back


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "answer",
    [
        b'{"data":[{"embedding":%b}]}' % VECTOR,
        b' {\n "data" : [ { "embedding" : %b } ] }\r\n' % VECTOR,
        b'{"data":{"embedding":%b}}' % VECTOR,
        b'{"embedding":%b}' % VECTOR,
        b'{"data":null,"embedding":%b}' % VECTOR,
        b'{"data":[],"embedding":%b}' % VECTOR,
        b'{"data":[{"startSec":null,"embeddingOption":null,"embedding":%b,"endSec":null}]}' % VECTOR,
        b'{"inferenceId":"x","data":[{"embeddingOption":["visual"],"embedding":%b}],"more":{}}' % VECTOR,
    ],
    ids=range(8),
)
def test_every_shape_gives_the_number_text_byte_for_byte(model: str, answer: bytes) -> None:
    """AWS's pages have `data` as a list and as an object, and clients have seen a bare vector."""
    assert parse(model, answer) == Answer([VECTOR], None)
    assert parse(model, answer, headers={TOKENS_HEADER: b"7"}) == Answer([VECTOR], 7)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "answer",
    [
        b'{"data":[]}',
        b'{"data":null}',
        b'{"data":[{}]}',
        b'{"data":{}}',
        b'{"data":[{"embedding":null}]}',
        b'{"embedding":null}',
        b'{"data":[{"embedding":%b},{"embedding":%b}]}' % (VECTOR, VECTOR),
        b'{"data":[%b]}' % VECTOR,
        b'{"data":%b}' % VECTOR,
        b'{"message":"failed"}',
    ],
)
def test_any_other_answer_is_refused(model: str, answer: bytes) -> None:
    refuses(model, answer, numbers=3)
