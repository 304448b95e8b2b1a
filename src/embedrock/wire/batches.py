"""Batch objects, as OpenAI's clients know them, for jobs that run in the background; and the lines of their results.

Source: OpenAI API reference, batches; `metadata.output_file_id` and `failure_message` as LiteLLM's page tells them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from embedrock.vectors import Array, Label, Segment
from embedrock.wire.openai import Body, encode_data

ENDPOINT: Final = "/v1/embeddings"
_WINDOW: Final = "24h"


class BatchError(NamedTuple):
    """What could not be embedded, and why."""

    code: str
    message: str


class Batch(NamedTuple):
    """A job of one input. Times are seconds since 1970; None: not yet, or not so."""

    id: str
    status: str  # in_progress, completed, failed, expired or cancelled
    created_at: int
    model: str | None = None
    in_progress_at: int | None = None
    ended_at: int | None = None
    expires_at: int | None = None
    output_file_id: str | None = None
    errors: tuple[BatchError, ...] = ()
    metadata: dict[str, str] = {}  # noqa: RUF012  # never changed


def members(batch: Batch) -> dict[str, Any]:
    """Return the object's members, all that OpenAI's has."""
    ended = {f"{state}_at": batch.ended_at if batch.status == state else None for state in _ENDS}
    errors = [{"code": error.code, "message": error.message, "param": None, "line": None} for error in batch.errors]
    completed, failed = int(batch.status == "completed"), int(batch.status in ("failed", "expired"))
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": ENDPOINT,
        "model": batch.model,
        "errors": {"object": "list", "data": errors} if errors else None,
        "input_file_id": "",
        "completion_window": _WINDOW,
        "status": batch.status,
        "output_file_id": batch.output_file_id,
        "error_file_id": None,
        "created_at": batch.created_at,
        "in_progress_at": batch.in_progress_at,
        "expires_at": batch.expires_at,
        "finalizing_at": None,
        **ended,
        "cancelling_at": None,
        "request_counts": {"total": 1, "completed": completed, "failed": failed},
        "usage": None,
        "metadata": batch.metadata,
    }


_ENDS: Final = ("completed", "failed", "expired", "cancelled")


def encode(batch: Batch) -> bytes:
    """Return the object as JSON."""
    return msgspec.json.encode(members(batch))


def encode_accepted(model: str, batches: Iterable[Batch], tokens: int) -> Body:
    """Return the answer to a request that went into the background: an item for each input, with its batch."""
    data = [
        {"object": "embedding", "index": index, "embedding": [], "batch": members(batch)}
        for index, batch in enumerate(batches)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    body = msgspec.json.encode({"object": "list", "data": data, "model": model, "usage": usage})
    return Body(len(body), (body,))


def encode_lines(
    index: int, vectors: Iterable[tuple[Array, Segment | None]], failures: Iterable[tuple[str, Segment | None]]
) -> Iterator[bytes]:
    """Yield the lines of a job's results: items of `data`; what failed has an error in place of a vector."""
    for vector, segment in vectors:
        yield b"".join([*encode_data([vector], [Label(index, segment)]), b"\n"])
    for reason, segment in failures:
        line: dict[str, Any] = {"object": "embedding", "index": index, "embedding": None}
        if segment is not None:
            line["segment"] = segment
        yield msgspec.json.encode({**line, "error": {"code": reason, "message": "Bedrock could not embed it."}}) + b"\n"
