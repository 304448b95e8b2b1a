"""A request and an answer, as handlers see them: read and checked, not parsed."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, NamedTuple

from embedrock.errors import BadRequest, RequestTooLarge, UnsupportedMedia
from embedrock.faces.http import headers as header
from embedrock.wire import openai

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Headers = list[tuple[bytes, bytes]]

JSON: Final = (b"content-type", b"application/json")
_JSON_TYPE: Final = re.compile(rb'application/json(\s*;\s*charset="?utf-8"?)?\s*', re.IGNORECASE)


class Request(NamedTuple):
    """One request, its body not read yet."""

    method: str
    path: str  # as it came over the wire, percent-encoding and all
    headers: dict[bytes, bytes]  # lower-case names; of a repeated one the last
    raw_headers: list[tuple[bytes, bytes]]  # all of them
    receive: Receive


class Answer(NamedTuple):
    """What a handler returns."""

    body: openai.Body
    headers: Headers
    status: int = 200


class Hangup(Exception):
    """The caller closed the connection: there is nobody to answer."""


def whole(body: bytes, status: int = 200) -> Answer:
    """Return an answer with JSON that is small enough to be in one piece."""
    return Answer(openai.Body(len(body), (body,)), [JSON], status)


async def read_json(request: Request, limit: int) -> bytes:
    """Return the body of a JSON request. Raises UnsupportedMedia, RequestTooLarge or Hangup."""
    kind = request.headers.get(b"content-type", b"")
    if kind != b"application/json" and not _JSON_TYPE.fullmatch(kind):
        raise UnsupportedMedia("Send the body as 'Content-Type: application/json', in UTF-8.")
    if request.headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise UnsupportedMedia("Compressed bodies are not accepted.", code="unsupported_content_encoding")
    if int(request.headers.get(b"content-length", b"0")) > limit:
        raise _too_large(limit)
    message = await request.receive()
    chunks: list[bytes] = [message.get("body", b"")]
    size = len(chunks[0])
    while message.get("more_body") and size <= limit:
        message = await request.receive()
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
    if message["type"] == "http.disconnect":
        raise Hangup
    if size > limit:
        raise _too_large(limit)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit: int) -> RequestTooLarge:
    return RequestTooLarge(f"The body is larger than the {limit} bytes this gateway takes.")


def timeout(headers: dict[bytes, bytes]) -> float | None:
    """Return the caller's own limit in seconds. Raises BadRequest when it is no positive whole number."""
    value = headers.get(header.TIMEOUT_MS)
    if value is None:
        return None
    if not value.isdigit() or not 0 < len(value) <= 12 or int(value) == 0:
        raise BadRequest(
            "'x-request-timeout-ms' must be a positive whole number.",
            param="x-request-timeout-ms",
            code="invalid_value",
        )
    return int(value) / 1000
