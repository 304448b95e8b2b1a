"""The third dialect, `POST /api/v3/inference/embeddings`: OpenAI's request, and an answer of its own.

An empty string is always refused here, a lone one too, whatever the operator wishes elsewhere. The answer has an id
and a time; `usage` holds `prompt_tokens` beside the documented `total_tokens`, because OpenAI's clients read it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from embedrock.errors import BadRequest
from embedrock.vectors import Array, Label
from embedrock.wire import openai
from embedrock.wire.openai import Body, EmbeddingsRequest


def decode_request(body: bytes) -> EmbeddingsRequest:
    """Return what `body` asks for. Raises BadRequest naming the member that is wrong."""
    ask = openai.decode_request(body)
    if ask.input == "":
        raise BadRequest("'input' is empty.", param="input", code="empty_input")
    if isinstance(ask.input, list) and "" in ask.input:
        param = f"input[{ask.input.index('')}]"
        raise BadRequest(f"'{param}' is empty.", param=param, code="empty_input")
    return ask


def encode_response(
    model: str,
    embeddings: Sequence[Array],
    tokens: int,
    labels: Sequence[Label] | None = None,
    *,
    answer_id: str,
    created: float,
) -> Body:
    """Return the answer's body. `created` is in seconds since the epoch."""
    data = openai.encode_data(embeddings, labels)
    head = msgspec.json.encode({"id": answer_id, "object": "embedding"})[:-1]
    tail = msgspec.json.encode(
        {"model": model, "created": created, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
    )[1:]
    pieces: list[Array] = [head + b',"data":[', *data, b"]," + tail]
    return Body(sum(map(len, pieces)), pieces)
