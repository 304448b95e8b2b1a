"""Titan Multimodal Embeddings: what is sent, and every shape of what comes back."""

from __future__ import annotations

from typing import Any

import pytest

from embedrock.errors import BadRequest
from embedrock.families.answer import Answer
from embedrock.inputs import Item

from .asking import JPEG, PNG, TITAN_IMAGE, TOKENS_HEADER, body, check, fused, parse, refuses

VECTOR = b"[0.0123,-0.0456, 1E-4]"
USUAL = b'{"embedding":%b,"inputTextTokenCount":4,"message":null}' % VECTOR


@pytest.mark.parametrize(
    "item, members",
    [
        ("a red bicycle", {"inputText": "a red bicycle"}),
        (PNG, {"inputImage": "cG5n"}),
        (JPEG, {"inputImage": "anBlZw=="}),
        (fused("a red bicycle", PNG), {"inputText": "a red bicycle", "inputImage": "cG5n"}),
        (fused(PNG, "a red bicycle"), {"inputText": "a red bicycle", "inputImage": "cG5n"}),
    ],
    ids=["text", "png", "jpeg", "text and image", "image and text"],
)
@pytest.mark.parametrize("dimensions", [None, 256, 384, 1024])
def test_text_image_or_both_are_sent_with_the_size_asked_for(
    item: Item, members: dict[str, Any], dimensions: int | None
) -> None:
    """The image as bare base64, without a type; the size nested."""
    config = {} if dimensions is None else {"embeddingConfig": {"outputEmbeddingLength": dimensions}}

    assert body(TITAN_IMAGE, item, dimensions=dimensions) == members | config


@pytest.mark.parametrize(
    "item",
    [
        fused("a", "b"),
        fused(PNG, PNG),
        fused("a", PNG, "b"),
        fused("a", PNG, JPEG),
    ],
    ids=["texts", "images", "two texts", "two images"],
)
def test_what_cannot_be_fused_is_refused(item: Item) -> None:
    with pytest.raises(BadRequest) as caught:
        check(TITAN_IMAGE, item)

    assert (caught.value.code, caught.value.param) == ("unsupported_input_combination", None)


@pytest.mark.parametrize("item", ["a", PNG, fused("a", PNG), fused(PNG, "a")], ids=range(4))
def test_what_can_be_read_is_let_through(item: Item) -> None:
    check(TITAN_IMAGE, item)


@pytest.mark.parametrize(
    "answer",
    [
        USUAL,
        b'{"embedding":%b,"inputTextTokenCount":4}' % VECTOR,
        b'{"message":null,"inputTextTokenCount":4,"embedding":%b}' % VECTOR,
        b' {\n"embedding" : %b ,\r\n "inputTextTokenCount" : 4 , "message" : "" }\n' % VECTOR,
        b'{"embeddingsByType":{"float":[9]},"embedding":%b,"inputTextTokenCount":4}' % VECTOR,
    ],
    ids=range(5),
)
def test_every_shape_gives_the_number_text_byte_for_byte(answer: bytes) -> None:
    assert parse(TITAN_IMAGE, answer) == Answer([VECTOR], 4)


@pytest.mark.parametrize(
    "answer, headers, tokens",
    [
        (USUAL, {TOKENS_HEADER: b"9"}, 4),
        (USUAL.replace(b"4,", b"0,"), {TOKENS_HEADER: b"9"}, 0),
        (USUAL.replace(b"4,", b"null,"), {TOKENS_HEADER: b"9"}, 9),
        (USUAL.replace(b"4,", b"null,"), {}, None),
        (b'{"embedding":%b}' % VECTOR, {}, None),
    ],
)
def test_tokens_are_those_of_the_text_where_they_are_told(
    answer: bytes, headers: dict[bytes, bytes], tokens: int | None
) -> None:
    assert parse(TITAN_IMAGE, answer, PNG, headers=headers).tokens == tokens


@pytest.mark.parametrize(
    "answer",
    [
        b'{"embedding":%b,"inputTextTokenCount":4,"message":"failed"}' % VECTOR,
        b'{"embedding":[],"inputTextTokenCount":0,"message":"failed"}',
        b'{"embedding":null,"inputTextTokenCount":null,"message":"failed"}',
        b'{"message":"failed"}',
        b'{"inputTextTokenCount":4,"message":null}',
        b'{"embedding":[],"inputTextTokenCount":4,"message":null}',
        b'{"embedding":null,"inputTextTokenCount":4,"message":null}',
        b'{"embedding":%b,"inputTextTokenCount":"4"}' % VECTOR,
    ],
)
def test_error_in_place_of_a_vector_is_a_failure_although_the_status_is_200(answer: bytes) -> None:
    refuses(TITAN_IMAGE, answer, numbers=3)
