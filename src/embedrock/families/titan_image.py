"""Titan Multimodal Embeddings: one text, one image, or one of each as one vector (the mean of the two).

The image travels as bare base64. AWS documents that an error may come in `message` of an answer with status 200: then
there is no vector, and it is a failure. The tokens are those of the text; an image has none.

Source: AWS Bedrock User Guide, Titan Multimodal Embeddings G1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from embedrock.catalog import ModelSpec
from embedrock.errors import BadRequest, InvalidUpstream
from embedrock.families.answer import Answer, counted, header_tokens
from embedrock.families.parameters import Table, Wanted
from embedrock.families.raw import json_string
from embedrock.inputs import Fused, Item
from embedrock.media import Media
from embedrock.vectors import BROKEN_JSON

TABLE: Final = Table(dimensions=("outputEmbeddingLength",))


class _Answer(msgspec.Struct):
    embedding: msgspec.Raw = msgspec.Raw()
    inputTextTokenCount: int | None = None  # noqa: N815  # AWS's name
    message: str | None = None


def check(spec: ModelSpec, item: Item, wanted: Wanted) -> None:  # noqa: ARG001
    """Raise BadRequest unless `item` is a text, an image, or one of each."""
    if isinstance(item, Fused) and sorted(type(part) is str for part in item.parts) != [False, True]:
        raise BadRequest(
            f"{spec.id} makes one vector of one text and one image, and of nothing else.",
            code="unsupported_input_combination",
        )


def build_request(spec: ModelSpec, items: Sequence[Item], wanted: Wanted) -> bytes:  # noqa: ARG001
    """Return the InvokeModel body for the one item in `items`."""
    (item,) = items
    body: dict[str, Any] = {}
    for part in item.parts if isinstance(item, Fused) else (item,):
        if isinstance(part, Media):
            body["inputImage"] = json_string(part.base64)
        else:
            body["inputText"] = part
    if wanted.asked:
        body["embeddingConfig"] = {"outputEmbeddingLength": wanted.dimensions}
    return msgspec.json.encode(body)


def parse_response(
    body: bytes | bytearray,
    headers: Mapping[bytes, bytes],
    items: Sequence[Item],  # noqa: ARG001
    wanted: Wanted,  # noqa: ARG001
) -> Answer:
    """Return the one vector and the tokens of the text. Raises InvalidUpstream."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except BROKEN_JSON as exc:
        raise InvalidUpstream("Bedrock's answer is not one of Titan Multimodal Embeddings.") from exc
    array = bytes(answer.embedding)
    if answer.message or not array:
        raise InvalidUpstream("The model reported an error in place of a vector.")
    tokens = counted(answer.inputTextTokenCount)
    return Answer([array], header_tokens(headers) if tokens is None else tokens)
