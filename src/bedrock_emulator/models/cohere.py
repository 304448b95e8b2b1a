"""Cohere Embed v3, English and multilingual: up to 96 texts, or one image, a call; tokens are only in a header.

Quirks, all seen in live recordings unless marked: a text over 2,048 characters breaks the schema, whatever `truncate`
says; `embedding_types`, even with one entry, changes the shape of `embeddings`; the English model echoes its texts in
lower case; `[""]` is embedded, while `[]` is refused with a text that names nothing.

Images follow AWS's pages; no answer to one was seen live. The pages show a `bit_depth` of 24 only, others are inferred.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import numpy as np
import orjson
from numpy.typing import NDArray

from .. import schema
from ..errors import malformed, validation
from ..tokens import Pieces
from ..vectors import unit, unit_of_picture
from . import pictures
from .answer import Answer

MODEL_IDS: tuple[str, ...] = ("cohere.embed-english-v3", "cohere.embed-multilingual-v3")

_FIELDS = ("input_type", "texts", "images", "truncate", "embedding_types")
_TEXT_PURPOSES = ("search_document", "search_query", "classification", "clustering")
_TYPES = ("float", "int8", "uint8", "binary", "ubinary")
_TRUNCATE = ("NONE", "START", "END")
_TRUNCATE_DEFAULT = "NONE"  # uncertain: the newest AWS page says END, the older ones and Cohere say NONE
_MAX_TEXTS = 96
_MAX_CHARS = 2048
_MAX_TOKENS = 512
_MAX_IMAGE_BYTES = 5_000_000  # decoded
_IMAGE_URIS = {"data:image/png;base64": "png", "data:image/jpeg;base64": "jpeg"}
_SIZE = 1024
_PIECES = {"cohere.embed-english-v3": Pieces(word=9), "cohere.embed-multilingual-v3": Pieces(word=6)}


def invoke(model_id: str, body: dict[str, Any]) -> Answer:
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
    embeddings = answer["embeddings"]
    rows: list[list[float]] = (
        embeddings if isinstance(embeddings, list) else next(embeddings[name] for name in _TYPES if name in embeddings)
    )
    return rows


def _embed_texts(model_id: str, texts: list[str], body: dict[str, Any]) -> Answer:
    if model_id == "cohere.embed-english-v3":
        texts = [text.lower() for text in texts]

    pieces, truncate, tokens = _PIECES[model_id], body.get("truncate", _TRUNCATE_DEFAULT), 0
    rows = np.empty((len(texts), _SIZE), np.float16)
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
        rows[at] = unit(model_id, read, _SIZE, size=_SIZE, accent=accent)
    return Answer(_answer(rows, body, texts=texts), tokens, len(texts))


def _embed_image(model_id: str, uri: str, body: dict[str, Any]) -> Answer:
    data, picture = _open_image(uri)
    rows = unit_of_picture(model_id, data, size=_SIZE).astype(np.float16).reshape(1, -1)
    # Uncertain: that there is no token header. No answer to an image was seen.
    return Answer(_answer(rows, body, texts=[], images=[picture]), None, 1)


def _open_image(uri: str) -> tuple[bytes, pictures.Picture]:
    """Return the file in a data URI and what its header says.

    Uncertain: none of these refusals was captured live. They say in plain words what is wrong.
    """
    head, _, encoded = uri.partition(",")
    if head not in _IMAGE_URIS:
        raise validation("The image must be a data URI of image/png or image/jpeg in base64.")
    try:
        data = b64decode(encoded, validate=True)
    except ValueError:
        raise validation("The image is not valid base64.") from None
    if len(data) > _MAX_IMAGE_BYTES:
        raise validation(f"The image is {len(data)} bytes large, the maximum is {_MAX_IMAGE_BYTES}.")
    picture = pictures.read(data)
    if picture is None:
        raise validation("The image is neither a PNG nor a JPEG.")
    if picture.format != _IMAGE_URIS[head]:
        raise validation(f"The image is a {picture.format}, its data URI says {_IMAGE_URIS[head]}.")
    return data, picture


def _answer(
    rows: NDArray[np.float16], body: dict[str, Any], *, texts: list[str], images: Sequence[pictures.Picture] = ()
) -> bytes:
    """Return the answer's JSON; `images` is a member only for an image, and its place among them is uncertain."""
    shape: bytes
    if types := body.get("embedding_types"):
        by_type = [f'"{name}":'.encode() + _numbers(_convert(rows, name)) for name in _TYPES if name in types]
        shape, embeddings = b"embeddings_by_type", b"{" + b",".join(by_type) + b"}"
    else:
        shape, embeddings = b"embeddings_floats", _numbers(_convert(rows, "float"))
    return b'{"embeddings":%b,"id":"%b",%b"response_type":"%b","texts":%b}' % (
        embeddings,
        str(uuid4()).encode(),
        b'"images":%b,' % orjson.dumps(images) if images else b"",
        shape,
        orjson.dumps(texts),
    )


def _convert(rows: NDArray[np.float16], name: str) -> NDArray[Any]:
    """Return the vectors as one of the output types; the packed ones have 8 dimensions a number."""
    match name:
        case "int8":  # the one recording with both types fits a factor of about 190
            return np.clip(np.rint(rows.astype(np.float64) * 192), -128, 127).astype(np.int8)
        case "uint8":
            return (_convert(rows, "int8").astype(np.int16) + 128).astype(np.uint8)
        case "ubinary":
            return np.packbits(rows > 0, axis=1)
        case "binary":  # uncertain: Cohere documents signed bytes, not how they follow from the unsigned ones
            return (np.packbits(rows > 0, axis=1).astype(np.int16) - 128).astype(np.int8)
    return rows.astype(np.float32)  # half-precision values, printed as the shortest text of a float32


def _numbers(rows: NDArray[Any]) -> bytes:
    return orjson.dumps(np.ascontiguousarray(rows), option=orjson.OPT_SERIALIZE_NUMPY)


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
                members.append(schema.enum_list("#/embedding_types", value, _TYPES))
    return schema.group([*failures, schema.group(members)])
