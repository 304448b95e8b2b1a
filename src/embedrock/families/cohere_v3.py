"""Cohere Embed v3: up to 96 texts a call, tokens only in a header.

`input_type` is required; without a word from the caller it is `search_document`. `truncate` is always sent, because
AWS's pages disagree on its default. `embedding_types` is always sent, because the shape of the answer depends on it:
a list without, an object by type with. Both are read.

Vectors belong to texts by position: the English model echoes the texts in lower case.

Source: AWS Bedrock User Guide, Cohere Embed v3; the shapes of answers were seen live.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from embedrock.catalog import ModelSpec
from embedrock.errors import InvalidUpstream
from embedrock.families.answer import Answer, header_tokens
from embedrock.vectors import BROKEN_JSON, Array

_START: Final = re.compile(rb'\s*\{\s*"embeddings"\s*:\s*\{\s*"float"\s*:\s*\[\s*(?=\[)')
_NEXT: Final = re.compile(rb"\s*,\s*(?=\[)")
_END: Final = re.compile(rb"\s*\]\s*\}")
_TAIL: Final = re.compile(rb"\}\s*\Z")


class _FullAnswer(msgspec.Struct):
    embeddings: list[msgspec.Raw] | dict[str, msgspec.Raw]


def build_request(spec: ModelSpec, texts: Sequence[str], dimensions: int | None) -> bytes:  # noqa: ARG001
    """Return the InvokeModel body for `texts`; the model has one size of vector and takes no `dimensions`."""
    return msgspec.json.encode(
        {"texts": texts, "input_type": "search_document", "truncate": "NONE", "embedding_types": ["float"]}
    )


def parse_response(body: bytes | bytearray, headers: Mapping[bytes, bytes], count: int) -> Answer:
    """Return one vector a text, in order, and the tokens of the call. Raises InvalidUpstream."""
    arrays = _cut(body, count) or _parse_in_full(body)
    if len(arrays) != count:
        raise InvalidUpstream(f"Bedrock answered {len(arrays)} vectors for {count} texts.")
    return Answer(arrays, header_tokens(headers))


def _cut(body: bytes | bytearray, count: int) -> list[Array] | None:
    """Return the rows of the usual answer without parsing a number, or None when it is not the usual one."""
    whole = memoryview(body)  # the rows are nearly all of the answer: they are not copied out of it
    arrays: list[Array] = []
    joint = _START.match(body)
    while joint and len(arrays) < count:
        start = joint.end()
        end = body.find(b"]", start) + 1
        arrays.append(whole[start:end])
        joint, last = _NEXT.match(body, end), end
    usual = len(arrays) == count and joint is None and _END.match(body, last) and _TAIL.search(body, len(body) - 8)
    return arrays if usual else None


def _parse_in_full(body: bytes | bytearray) -> list[Array]:
    try:
        embeddings = msgspec.json.decode(body, type=_FullAnswer).embeddings
        if isinstance(embeddings, dict):
            embeddings = msgspec.json.decode(embeddings["float"], type=list[msgspec.Raw])
    except (*BROKEN_JSON, KeyError) as exc:
        raise InvalidUpstream("Bedrock's answer is not one of Cohere Embed.") from exc
    return [bytes(array) for array in embeddings]
