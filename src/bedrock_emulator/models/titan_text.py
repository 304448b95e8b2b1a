"""Titan text embeddings, v1 and V2: one text a call; the token count is in the body as well as in a header.

Quirks, all seen in live recordings unless marked. Both: a lone violation of the schema is printed without its pointer.
V2: `normalize: false` gives unit vectors too; `embeddingsByType` is always there, `embedding` only when floats were
asked for (documented). v1, and `g1-text-02`, which answers just as v1 does: no options; vectors have a length of about
18, so that products of vectors are no cosines, and numbers are bfloat16.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from .. import schema
from ..errors import malformed, validation
from ..tokens import Pieces
from ..vectors import Floats, Space, bfloat16, of_text, unit
from .answer import Answer
from .files import Objects

_V2 = "amazon.titan-embed-text-v2:0"
MODEL_IDS: tuple[str, ...] = ("amazon.titan-embed-text-v1", "amazon.titan-embed-g1-text-02", _V2)

_V1_SPACE, _V2_SPACE = Space("titan-text-v1", 1536), Space("titan-text-v2", 1024)
_V1_FIELDS = ("inputText",)
_V2_FIELDS = (*_V1_FIELDS, "dimensions", "normalize", "embeddingTypes")
_DIMENSIONS = (1024, 512, 256)
_TYPES = ("float", "binary")
_MAX_CHARS = 50_000
_MAX_TOKENS = 8192
_V1_PIECES, _V2_PIECES = Pieces(word=9), Pieces(word=7)


def invoke(model_id: str, body: dict[str, Any], objects: Objects) -> Answer:  # noqa: ARG001
    """Return the answer of Titan. Source: AWS Bedrock User Guide, Titan Text Embeddings, and live recordings."""
    is_v2 = model_id == _V2
    if failure := _check(body, _V2_FIELDS if is_v2 else _V1_FIELDS):
        raise malformed(schema.describe(failure, pointers=False))
    text: str = body["inputText"]
    # One more in V2 for the same text, hence a special token. Uncertain in v1: a text without a visible character.
    tokens = 1 + _V2_PIECES.count(text) if is_v2 else max(1, _V1_PIECES.count(text))
    if tokens > _MAX_TOKENS:
        raise validation(
            f"400 Bad Request: Too many input tokens. Max input tokens: {_MAX_TOKENS}, "
            f"request input token count: {tokens} "
        )
    return Answer(_v2(text, body, tokens) if is_v2 else _v1(text, tokens), tokens, 1)


def vectors(answer: dict[str, Any]) -> list[list[float]]:
    """Return the one vector: the floats, or the bits when only those were asked for."""
    by_type = answer.get("embeddingsByType", {"float": answer.get("embedding")})
    return [by_type["float"] if "float" in by_type else by_type["binary"]]


def _v1(text: str, tokens: int) -> bytes:
    # Lengths of 18.18 and 18.70 were seen; here the text decides, from 18 to 18.75.
    length = 18 + sha256(text.encode("utf-8", "surrogatepass")).digest()[0] / 340
    vector = bfloat16(unit(_V1_SPACE, of_text(_V1_SPACE, text), _V1_SPACE.size) * length).astype(np.float64)
    return b'{"embedding":%b,"inputTextTokenCount":%d}' % (_numbers(vector), tokens)


def _v2(text: str, body: dict[str, Any], tokens: int) -> bytes:
    types = body.get("embeddingTypes", ["float"])
    vector = unit(_V2_SPACE, of_text(_V2_SPACE, text), body.get("dimensions", 1024))
    parts, by_type = [], []
    if "float" in types:
        numbers = _numbers(vector)
        parts.append(b'"embedding":' + numbers)
        by_type.append(b'"float":' + numbers)
    if "binary" in types:
        # One 0 or 1 per dimension, not packed: uncertain, no raw answer was seen.
        by_type.append(b'"binary":' + _numbers((vector > 0).astype(np.int8)))
    parts.append(b'"embeddingsByType":{' + b",".join(by_type) + b"}")
    parts.append(b'"inputTextTokenCount":%d' % tokens)
    return b"{" + b",".join(parts) + b"}"


def _numbers(vector: Floats | NDArray[np.int8]) -> bytes:
    return orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY)


def _check(body: dict[str, Any], known: tuple[str, ...]) -> schema.Failure | None:
    failures = schema.members(body, required=("inputText",), known=known)
    for key in (key for key in body if key in known):
        value = body[key]
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
