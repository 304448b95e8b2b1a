"""Titan Text Embeddings: one text a call, tokens in the body. V1 and G1-02 take nothing else; V2 has sizes.

V2's answer holds the same numbers under `embedding` and `embeddingsByType.float`; the first is taken and the second
is never looked at. No Titan text model truncates: a text over the limits is an error. V1's vectors are not of length
1, and its answers have no `embeddingsByType`.

Source: AWS Bedrock User Guide, Titan Text Embeddings; the order of members was seen in live answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from embedrock.catalog import ModelSpec
from embedrock.errors import InvalidUpstream
from embedrock.families.answer import Answer, counted, header_tokens
from embedrock.families.parameters import NORMALIZE_SWITCH, Table, Wanted, one_type
from embedrock.inputs import Item
from embedrock.vectors import BROKEN_JSON

V1: Final = Table()
V2: Final = Table((NORMALIZE_SWITCH, one_type("embeddingTypes", ("float", "binary"))), dimensions=("dimensions",))

_START: Final = re.compile(rb'\s*\{\s*"embedding"\s*:\s*(?=\[)')
_TOKENS: Final = re.compile(rb'"inputTextTokenCount"\s*:\s*(\d{1,15})\s*\}\s*\Z')
_TAIL_BYTES: Final = 80  # the token count is the last member; an answer where it is not is parsed in full


class _ByType(msgspec.Struct):
    binary: msgspec.Raw = msgspec.Raw()  # not `| None`: msgspec would take nothing but null


class _FullAnswer(msgspec.Struct):
    embedding: msgspec.Raw = msgspec.Raw()
    embeddingsByType: _ByType | None = None  # noqa: N815  # AWS's name
    inputTextTokenCount: int | None = None  # noqa: N815  # AWS's name


def build_request(spec: ModelSpec, items: Sequence[Item], wanted: Wanted) -> bytes:
    """Return the InvokeModel body for the one text in `items`."""
    (text,) = items
    body: dict[str, Any] = {"inputText": text}
    if wanted.asked and len(spec.dimensions) > 1:
        body["dimensions"] = wanted.dimensions
    if wanted.values:
        if "normalize" in wanted.values:
            body["normalize"] = wanted.values["normalize"]
        if "embedding_types" in wanted.values:
            body["embeddingTypes"] = [wanted.kind]
    return msgspec.json.encode(body)


def parse_response(
    body: bytes | bytearray,
    headers: Mapping[bytes, bytes],
    items: Sequence[Item],  # noqa: ARG001
    wanted: Wanted,
) -> Answer:
    """Return the one vector and its tokens. Raises InvalidUpstream."""
    start = _START.match(body) if wanted.kind == "float" else None
    end = _TOKENS.search(body, max(0, len(body) - _TAIL_BYTES))
    if start and end:
        # Copied out, so that the rest of the answer, which is more than half, can go.
        array = bytes(body[start.end() : body.find(b"]", start.end()) + 1])
        tokens = counted(int(end[1]))
    else:
        array, tokens = _parse_in_full(body, wanted.kind)
    return Answer([array], header_tokens(headers) if tokens is None else tokens)


def _parse_in_full(body: bytes | bytearray, kind: str) -> tuple[bytes, int | None]:
    try:
        answer = msgspec.json.decode(body, type=_FullAnswer)
    except BROKEN_JSON as exc:
        raise InvalidUpstream("Bedrock's answer is not one of Titan Text Embeddings.") from exc
    by_type = answer.embeddingsByType or _ByType()
    array = bytes(answer.embedding if kind == "float" else by_type.binary)
    if not array:
        raise InvalidUpstream("Bedrock's answer holds no vector of the type asked for.")
    return array, counted(answer.inputTextTokenCount)
