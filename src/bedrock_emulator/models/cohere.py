"""Cohere Embed v3, English and multilingual: up to 96 texts, or one image, a call; tokens are only in a header.

Quirks, all seen in live recordings unless marked: a text over 2,048 characters breaks the schema, whatever `truncate`
says; `embedding_types`, even with one entry, changes the shape of `embeddings`; the English model echoes its texts in
lower case; `[""]` is embedded, while `[]` is refused with a text that names nothing.

Images follow AWS's pages; no answer to one was seen live. The pages show a `bit_depth` of 24 only, others are inferred.
What pixels take once decoded is answered, so the palette of a PNG counts as 8 and 16 bits of a colour as 8.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import schema
from ..errors import malformed, validation
from ..tokens import Pieces
from ..vectors import Space, of_text, unit
from . import cohere_output, looks, media, pictures
from .answer import Answer
from .cohere_output import TYPES
from .files import Objects

MODEL_IDS: tuple[str, ...] = ("cohere.embed-english-v3", "cohere.embed-multilingual-v3")

_FIELDS = ("input_type", "texts", "images", "truncate", "embedding_types")
_TEXT_PURPOSES = ("search_document", "search_query", "classification", "clustering")
_TRUNCATE = ("NONE", "START", "END")
_TRUNCATE_DEFAULT = "NONE"  # uncertain: the newest AWS page says END, the older ones and Cohere say NONE
_MAX_TEXTS = 96
_MAX_CHARS = 2048
_MAX_TOKENS = 512
_MAX_IMAGE_BYTES = 5_000_000  # decoded
_IMAGE_URIS = {"data:image/png;base64": "png", "data:image/jpeg;base64": "jpeg"}
_SPACES = {model_id: Space(model_id, 1024) for model_id in MODEL_IDS}
_PIECES = {"cohere.embed-english-v3": Pieces(word=9), "cohere.embed-multilingual-v3": Pieces(word=6)}


def invoke(model_id: str, body: dict[str, Any], objects: Objects) -> Answer:  # noqa: ARG001
    """Return the answer of a v3 model. Source: AWS Bedrock User Guide, Cohere Embed v3, and live recordings."""
    if failure := _check(body):
        raise malformed(schema.describe(failure, pointers=True))
    images: list[str] | None = body.get("images")
    texts: list[str] = body.get("texts", [])
    if not (images or texts):  # uncertain for images
        raise validation("Invalid parameter combination. Please check and try again.")
    return _embed_image(model_id, images[0], body) if images else _embed_texts(model_id, texts, body)


def vectors(answer: dict[str, Any]) -> list[list[float]]:
    """Return one vector per input: the floats, or the first of the other types when no floats were asked for."""
    return cohere_output.vectors(answer)


def _embed_texts(model_id: str, texts: list[str], body: dict[str, Any]) -> Answer:
    if model_id == "cohere.embed-english-v3":
        texts = [text.lower() for text in texts]

    space, pieces, truncate, tokens = _SPACES[model_id], _PIECES[model_id], body.get("truncate", _TRUNCATE_DEFAULT), 0
    rows = np.empty((len(texts), space.size), np.float16)
    # Documents are the plain case; the other purposes turn the vector a little.
    accent = "" if body["input_type"] == "search_document" else body["input_type"]
    for at, text in enumerate(texts):
        count = pieces.count(text)
        read = text
        if count > _MAX_TOKENS:
            if truncate == "NONE":
                raise validation("Input is too long for requested model.")
            read, count = pieces.cut(text, _MAX_TOKENS, keep_end=truncate == "START"), _MAX_TOKENS
        tokens += max(1, count)  # uncertain for a text without a visible character
        rows[at] = unit(space, of_text(space, read), space.size, accent=accent)
    return Answer(cohere_output.answer(rows, body.get("embedding_types"), {"texts": texts}), tokens, len(texts))


def _embed_image(model_id: str, uri: str, body: dict[str, Any]) -> Answer:
    picture = _open_image(uri)
    space = _SPACES[model_id]
    rows = unit(space, looks.of_picture(space, picture), space.size).astype(np.float16).reshape(1, -1)
    facts = {"width": picture.width, "height": picture.height, "format": picture.format, "bit_depth": picture.bit_depth}
    echo = {"images": [facts], "texts": []}
    # Uncertain: that there is no token header. No answer to an image was seen.
    return Answer(cohere_output.answer(rows, body.get("embedding_types"), echo), None, 1)


def _open_image(uri: str) -> pictures.Picture:
    """Return the picture in a data URI.

    Uncertain: none of these refusals was captured live. They say in plain words what is wrong.
    """
    head, _, encoded = uri.partition(",")
    if head not in _IMAGE_URIS:
        raise validation("The image must be a data URI of image/png or image/jpeg in base64.")
    try:
        data = media.decode(encoded)
    except ValueError:
        raise validation("The image is not valid base64.") from None
    if len(data) > _MAX_IMAGE_BYTES:
        raise validation(f"The image is {len(data)} bytes large, the maximum is {_MAX_IMAGE_BYTES}.")
    try:
        picture = pictures.read(data, ("png", "jpeg"))
    except pictures.BadPictureError as error:
        raise validation(str(error)) from None
    if picture.format != _IMAGE_URIS[head]:
        raise validation(f"The image is a {picture.format}, its data URI says {_IMAGE_URIS[head]}.")
    return picture


def _check(body: dict[str, Any]) -> schema.Failure | None:
    """Return what breaks the schema.

    The schema's shape was worked out from pasted errors: five conditions, one per purpose, say which of `texts` and
    `images` has to be there; all five hold when `input_type` is missing. The object itself comes after them.
    """
    failures: list[schema.Failure | None] = []
    for purpose in ("image", *_TEXT_PURPOSES):
        if body.get("input_type", purpose) == purpose:
            wanted, unwanted = ("images", "texts") if purpose == "image" else ("texts", "images")
            failures.append(schema.group(schema.exclusive(body, wanted, unwanted)))
    members = schema.members(body, required=("input_type",), known=_FIELDS)
    for key, value in body.items():
        match key:
            case "input_type":
                members.append(schema.one_of("#/input_type", value, (*_TEXT_PURPOSES, "image")))
            case "texts":
                # The texts have no minimum length and the list no minimum count: both follow from live answers.
                members.append(schema.string_list("#/texts", value, most=_MAX_TEXTS, longest=_MAX_CHARS))
            case "images":
                members.append(schema.string_list("#/images", value, most=1))
            case "truncate":
                members.append(schema.one_of("#/truncate", value, _TRUNCATE))
            case "embedding_types":
                members.append(schema.enum_list("#/embedding_types", value, TYPES))
    return schema.group([*failures, schema.group(members)])
