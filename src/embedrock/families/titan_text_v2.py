"""Titan Text Embeddings V2: one text a call, the vector twice in the answer, tokens in the body.

The answer holds the same numbers under `embedding` and `embeddingsByType.float`; the first is taken and the second
is never looked at. The model has no truncation: a text over its limits is an error.

Source: AWS Bedrock User Guide, Titan Text Embeddings; the order of members was seen in live answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from embedrock.catalog import ModelSpec
from embedrock.errors import InvalidUpstream
from embedrock.families.answer import Answer, header_tokens
from embedrock.vectors import BROKEN_JSON

_START: Final = re.compile(rb'\s*\{\s*"embedding"\s*:\s*(?=\[)')
_TOKENS: Final = re.compile(rb'"inputTextTokenCount"\s*:\s*(\d{1,15})\s*\}\s*\Z')
_TAIL_BYTES: Final = 80  # the token count is the last member; an answer where it is not is parsed in full


class _FullAnswer(msgspec.Struct):
    embedding: msgspec.Raw
    inputTextTokenCount: int | None = None  # noqa: N815  # AWS's name


def build_request(spec: ModelSpec, texts: Sequence[str], dimensions: int | None) -> bytes:  # noqa: ARG001
    """Return the InvokeModel body for the one text in `texts`."""
    (text,) = texts
    body: dict[str, object] = {"inputText": text}
    if dimensions is not None:
        body["dimensions"] = dimensions
    return msgspec.json.encode(body)


def parse_response(body: bytes | bytearray, headers: Mapping[bytes, bytes], count: int) -> Answer:  # noqa: ARG001
    """Return the one vector and its tokens. Raises InvalidUpstream."""
    start = _START.match(body)
    end = _TOKENS.search(body, max(0, len(body) - _TAIL_BYTES))
    if start and end:
        # Copied out, so that the rest of the answer, which is more than half, can go.
        array = bytes(body[start.end() : body.find(b"]", start.end()) + 1])
        tokens: int | None = int(end[1])
    else:
        array, tokens = _parse_in_full(body)
    return Answer([array], header_tokens(headers) if tokens is None else tokens)


def _parse_in_full(body: bytes | bytearray) -> tuple[bytes, int | None]:
    try:
        answer = msgspec.json.decode(body, type=_FullAnswer)
    except BROKEN_JSON as exc:
        raise InvalidUpstream("Bedrock's answer is not one of Titan Text Embeddings V2.") from exc
    return bytes(answer.embedding), answer.inputTextTokenCount
