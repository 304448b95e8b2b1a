"""What the tests of the families share: asking as the service does, and a few things to embed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from embedrock import vectors
from embedrock.catalog import MODELS
from embedrock.errors import InvalidUpstream
from embedrock.families import FAMILIES
from embedrock.families.answer import Answer
from embedrock.families.parameters import Wanted
from embedrock.inputs import Fused, Item
from embedrock.media import Media, S3Object

TITAN_V1 = "amazon.titan-embed-text-v1"
TITAN_G1 = "amazon.titan-embed-g1-text-02"
TITAN = "amazon.titan-embed-text-v2:0"
TITAN_IMAGE = "amazon.titan-embed-image-v1"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
ENGLISH = "cohere.embed-english-v3"
MULTILINGUAL = "cohere.embed-multilingual-v3"
V4 = "cohere.embed-v4:0"
MARENGO_2 = "twelvelabs.marengo-embed-2-7-v1:0"
MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"

#: Families never look at the bytes, so these are none of a real file.
PNG = Media("image", "png", "cG5n", 3, 2, 1)
JPEG = Media("image", "jpeg", "anBlZw==", 4, 2, 1)
PNG_URI = "data:image/png;base64,cG5n"
JPEG_URI = "data:image/jpeg;base64,anBlZw=="
MP3 = Media("audio", "mp3", "bXAz", 3, None, None)
MP4 = Media("video", "mp4", "bXA0", 3, None, None)
S3_PNG = S3Object("s3://bucket/a.png", "image", "png")
S3_JPEG = S3Object("s3://bucket/b.jpg", "image", "jpeg")
S3_MP3 = S3Object("s3://bucket/a.mp3", "audio", "mp3")
S3_MP4 = S3Object("s3://bucket/a.mp4", "video", "mp4")
S3_TEXT = S3Object("s3://bucket/a.txt", "text", "text")

TOKENS_HEADER = b"x-amzn-bedrock-input-token-count"


def wanted(model: str, **params: Any) -> Wanted:
    """Return what a caller wants who says this, of a model and nobody else's defaults."""
    spec = MODELS[model]
    table = FAMILIES[spec.family].table
    known, unknown = table.read(params)
    assert not unknown
    return table.resolve(spec, [known])


def request(model: str, *items: Item, **params: Any) -> bytes:
    """Return the body of the call for `items`."""
    spec = MODELS[model]
    return FAMILIES[spec.family].build_request(spec, items, wanted(model, **params))


def body(model: str, *items: Item, **params: Any) -> Any:
    """Return the body of the call for `items`, decoded."""
    return json.loads(request(model, *items, **params))


def check(model: str, item: Item, **params: Any) -> None:
    """Raise what the family says against `item`."""
    spec = MODELS[model]
    found = FAMILIES[spec.family].check
    assert found is not None
    found(spec, item, wanted(model, **params))


def parse(
    model: str,
    answer: bytes,
    *items: Item,
    numbers: int | None = None,
    headers: Mapping[bytes, bytes] | None = None,
    **params: Any,
) -> Answer:
    """Return what the family makes of an answer for `items`, one text by default.

    It must make the same of bytes and of a bytearray. With `numbers`, each vector is checked for holding so many.
    """
    spec = MODELS[model]
    family = FAMILIES[spec.family]
    asked = wanted(model, **params)
    found, again = (
        family.parse_response(form(answer), headers or {}, items or ("hello",), asked) for form in (bytearray, bytes)
    )
    assert found == again
    if numbers is not None:
        for array in found.vectors:
            vectors.as_json(array, numbers)
    return found


def refuses(model: str, answer: bytes, *items: Item, numbers: int | None = None, **params: Any) -> None:
    """Check that an answer, or one of its vectors, is refused as none of the model's."""
    with pytest.raises(InvalidUpstream):
        parse(model, answer, *items, numbers=numbers, **params)


def texts(count: int) -> list[Item]:
    return [f"text {index}" for index in range(count)]


def fused(*parts: str | Media | S3Object) -> Fused:
    return Fused(parts)
