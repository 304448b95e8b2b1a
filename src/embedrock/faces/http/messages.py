"""A request and an answer, as handlers see them: read and checked, not parsed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from embedrock.errors import BadRequest, RequestTimeout, RequestTooLarge, UnsupportedMedia
from embedrock.faces.http import headers as header
from embedrock.faces.http.bodies import Room
from embedrock.service.bill import Bill
from embedrock.service.callers import ANYBODY, Caller
from embedrock.service.door import Admission
from embedrock.settings import Settings
from embedrock.wire import openai
from embedrock.wiring import Gateway

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Headers = list[tuple[bytes, bytes]]

_PART_S: Final = 10  # between two parts of a body
_CLIENTS_TIMEOUTS: Final = (b"x-stainless-read-timeout", b"x-stainless-timeout")  # of Python, of Node
_SECONDS: Final = re.compile(rb"[0-9]{1,9}(\.[0-9]{1,9})?")
JSON: Final = (b"content-type", b"application/json")
_JSON_TYPE: Final = re.compile(rb'application/json(\s*;\s*charset="?utf-8"?)?\s*', re.IGNORECASE)


@dataclass(slots=True)
class Request:
    """One request, its body not read yet. Not frozen: who asks is known when it has been looked at."""

    method: str
    path: str  # as it came over the wire, percent-encoding and all
    headers: dict[bytes, bytes]  # lower-case names; of a repeated one the last
    raw_headers: list[tuple[bytes, bytes]]  # all of them
    receive: Receive
    room: Room  # for its body
    caller: Caller = ANYBODY
    admission: Admission | None = None  # None: the caller has no limits, or the path none
    bill: Bill | None = None  # None: nobody is charged


class Serving(NamedTuple):
    """What handlers work with."""

    settings: Settings
    gateway: Gateway


class Answer(NamedTuple):
    """What a handler returns."""

    body: openai.Body
    headers: Headers
    status: int = 200
    stream: Iterator[bytes] | None = None  # in place of the body, where it is long; sent as it is made


class Hangup(Exception):
    """The caller closed the connection: there is nobody to answer."""


def whole(body: bytes, status: int = 200) -> Answer:
    """Return an answer with JSON that is small enough to be in one piece."""
    return Answer(openai.Body(len(body), (body,)), [JSON], status)


async def read_json(request: Request, limit: int) -> bytes | bytearray:
    """Return the body of a JSON request. Raises UnsupportedMedia, RequestTooLarge or Hangup."""
    kind = request.headers.get(b"content-type", b"")
    if kind != b"application/json" and not _JSON_TYPE.fullmatch(kind):
        raise UnsupportedMedia("Send the body as 'Content-Type: application/json', in UTF-8.")
    if request.headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise UnsupportedMedia("Compressed bodies are not accepted.", code="unsupported_content_encoding")
    if int(request.headers.get(b"content-length", b"0")) > limit:
        raise _too_large(limit)
    message = await request.receive()  # the first part is nearly always here already
    body: bytes | bytearray = message.get("body", b"")
    if message.get("more_body"):
        body = bytearray(body)  # grows in its place: of a large body there is never a second one
    while message.get("more_body") and len(body) <= limit:
        request.room.grow(len(body))
        message = await _next(request)
        body += message.get("body", b"")
    if message["type"] == "http.disconnect":
        raise Hangup
    if len(body) > limit:
        raise _too_large(limit)
    return body


async def _next(request: Request) -> MutableMapping[str, Any]:
    """Return the next part of a body. Raises RequestTimeout when it does not come."""
    try:
        async with asyncio.timeout(_PART_S):
            return await request.receive()
    except TimeoutError:
        raise RequestTimeout(f"The body stopped: nothing came for {_PART_S} s.") from None


def _too_large(limit: int) -> RequestTooLarge:
    return RequestTooLarge(f"The body is larger than the {limit} bytes this gateway takes.")


def timeout(headers: dict[bytes, bytes]) -> float | None:
    """Return how long the caller waits, in seconds: by its own word, or by what OpenAI's clients say of themselves.

    Raises BadRequest when its own word is no positive whole number.
    """
    value = headers.get(header.TIMEOUT_MS)
    limits = [] if value is None else [_milliseconds(value) / 1000]
    for name in _CLIENTS_TIMEOUTS:
        told = headers.get(name, b"")
        if _SECONDS.fullmatch(told) and float(told) > 0:  # 0 stands for less than one
            limits.append(float(told))
    return min(limits, default=None)


def _milliseconds(value: bytes) -> int:
    if not value.isdigit() or not 0 < len(value) <= 12 or int(value) == 0:
        raise BadRequest(
            "'x-request-timeout-ms' must be a positive whole number.",
            param="x-request-timeout-ms",
            code="invalid_value",
        )
    return int(value)
