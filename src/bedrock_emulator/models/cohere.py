"""Cohere Embed v3, English and multilingual: up to 96 texts a call; the token count is only in a header.

Quirks, all seen in live recordings unless marked: a text over 2,048 characters breaks the schema, whatever `truncate`
says; `embedding_types`, even with one entry, changes the shape of `embeddings`; the English model echoes its texts in
lower case; `[""]` is embedded, while `[]` is refused with a text that names nothing.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import numpy as np
import orjson
from numpy.typing import NDArray

from .. import schema
from ..errors import malformed, validation
from ..tokens import Pieces
from ..vectors import unit
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
_SIZE = 1024
_PIECES = {"cohere.embed-english-v3": Pieces(word=9), "cohere.embed-multilingual-v3": Pieces(word=6)}


def invoke(model_id: str, body: dict[str, Any]) -> Answer:
    """Return the answer of a v3 model. Source: AWS Bedrock User Guide, Cohere Embed v3, and live recordings."""
    if failure := _check(body):
        raise malformed(schema.describe(failure, pointers=True))
    if "images" in body:
        raise validation(f"This emulator does not embed images with {model_id} yet.")
    texts: list[str] = body["texts"]
    if not texts:
        raise validation("Invalid parameter combination. Please check and try again.")
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

    shape: bytes
    if types := body.get("embedding_types"):
        by_type = [f'"{name}":'.encode() + _numbers(_convert(rows, name)) for name in _TYPES if name in types]
        shape, embeddings = b"embeddings_by_type", b"{" + b",".join(by_type) + b"}"
    else:
        shape, embeddings = b"embeddings_floats", _numbers(_convert(rows, "float"))
    answer = b'{"embeddings":%b,"id":"%b","response_type":"%b","texts":%b}' % (
        embeddings,
        str(uuid4()).encode(),
        shape,
        orjson.dumps(texts),
    )
    return Answer(answer, tokens, len(texts))


def vectors(answer: dict[str, Any]) -> list[list[float]]:
    """Return one vector per text: the floats, or the first of the other types when no floats were asked for."""
    embeddings = answer["embeddings"]
    rows: list[list[float]] = (
        embeddings if isinstance(embeddings, list) else next(embeddings[name] for name in _TYPES if name in embeddings)
    )
    return rows


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
