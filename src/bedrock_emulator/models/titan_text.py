"""Titan Text Embeddings V2: one text a call; the token count is in the body as well as in a header.

Quirks, all seen in live recordings unless marked: `normalize: false` gives unit vectors too; `embeddingsByType` is
always there, `embedding` only when floats were asked for (documented); a lone violation of the schema is printed
without its pointer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from .. import schema
from ..errors import malformed, validation
from ..tokens import Pieces
from ..vectors import unit
from .answer import Answer

MODEL_IDS: tuple[str, ...] = ("amazon.titan-embed-text-v2:0",)

_FIELDS = ("inputText", "dimensions", "normalize", "embeddingTypes")
_DIMENSIONS = (1024, 512, 256)
_TYPES = ("float", "binary")
_MAX_CHARS = 50_000
_MAX_TOKENS = 8192
_PIECES = Pieces(word=7)


def invoke(model_id: str, body: dict[str, Any]) -> Answer:  # noqa: ARG001  # one model, for now
    """Return the answer of Titan. Source: AWS Bedrock User Guide, Titan Text Embeddings, and live recordings."""
    if failure := _check(body):
        raise malformed(schema.describe(failure, pointers=False))
    text: str = body["inputText"]
    tokens = 1 + _PIECES.count(text)  # one more than Titan v1 for the same text, hence a special token
    if tokens > _MAX_TOKENS:
        raise validation(
            f"400 Bad Request: Too many input tokens. Max input tokens: {_MAX_TOKENS}, "
            f"request input token count: {tokens} "
        )
    types = body.get("embeddingTypes", ["float"])
    vector = unit("titan-text-v2", text, body.get("dimensions", 1024), size=1024)
    parts, by_type = [], []
    if "float" in types:
        numbers = orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY)
        parts.append(b'"embedding":' + numbers)
        by_type.append(b'"float":' + numbers)
    if "binary" in types:
        # One 0 or 1 per dimension, not packed: uncertain, no raw answer was seen.
        by_type.append(b'"binary":' + orjson.dumps((vector > 0).astype(np.int8), option=orjson.OPT_SERIALIZE_NUMPY))
    parts.append(b'"embeddingsByType":{' + b",".join(by_type) + b"}")
    parts.append(b'"inputTextTokenCount":%d' % tokens)
    return Answer(b"{" + b",".join(parts) + b"}", tokens, 1)


def vectors(answer: dict[str, Any]) -> list[list[float]]:
    """Return the one vector: the floats, or the bits when only those were asked for."""
    by_type = answer["embeddingsByType"]
    return [by_type["float"] if "float" in by_type else by_type["binary"]]


def _check(body: dict[str, Any]) -> schema.Failure | None:
    failures = schema.members(body, required=("inputText",), known=_FIELDS)
    for key, value in body.items():
        match key:
            case "inputText":
                failures.append(schema.string("#/inputText", value, shortest=1, longest=_MAX_CHARS))
            case "dimensions":
                failures.append(schema.one_of("#/dimensions", value, _DIMENSIONS))
            case "normalize":
                failures.append(schema.boolean("#/normalize", value))
            case "embeddingTypes":
                failures.append(schema.enum_list("#/embeddingTypes", value, _TYPES))
    return schema.group(failures)
