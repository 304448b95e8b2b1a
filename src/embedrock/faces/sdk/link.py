"""One gateway's HTTP: requests that are tried again, and errors that are ours again.

What may help is tried again, with the waits that the gateway asks for, or else growing ones, under one deadline, which
the gateway is told. While most requests fail, few are tried again.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import ssl
import time
from collections.abc import Callable, Mapping
from random import random
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from embedrock import errors
from embedrock.errors import (
    ContentBlocked,
    EmbedrockError,
    InvalidUpstream,
    RateLimited,
    Retry,
    TokensLimited,
    Unavailable,
    UpstreamTimeout,
)
from embedrock.faces.http import headers as header
from embedrock.faces.sdk.arguments import InvalidArgument
from embedrock.upstream.connection import Pool, Response
from embedrock.vectors import BROKEN_JSON

RETRIES: Final = 2
_BASE_S: Final = 0.5
_CAP_S: Final = 8.0
_LONGEST_HINT_S: Final = 120.0  # a gateway that wants more is not waited for
_RETRY_COST: Final = 10.0
_PATIENCE: Final = 100.0  # ten retries at once; each success gives one tenth of one back
_LARGEST_ANSWER: Final = 1_000_000_000
_SENDABLE: Final = re.compile(r"[!-~]+")
_KINDS: Final = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, EmbedrockError) and kind is not EmbedrockError
]
# Of several kinds the most general one, which is named first.
_BY_CODE: Final = {(kind.status, kind.code): kind for kind in reversed(_KINDS) if kind.code}
_BY_STATUS: Final = {kind.status: kind for kind in reversed(_KINDS)}


class Request(NamedTuple):
    """A request to a gateway; `path` is below its base URL, `key` its caller's."""

    method: str
    path: str
    key: str | None
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class _Failure(NamedTuple):
    """What went wrong with one attempt, whether another may help, and when the gateway wants it."""

    error: EmbedrockError
    again: bool
    hint_s: float | None = None


class _Error(msgspec.Struct):
    message: str = ""
    param: str | None = None
    code: str | int | None = None
    type: str | None = None


class _Envelope(msgspec.Struct):
    error: _Error


class Link:
    """The connections to one gateway. Raises InvalidArgument when `base_url` is none."""

    def __init__(self, base_url: str) -> None:
        try:
            parts = urlsplit(base_url)
            port = parts.port
        except ValueError:
            raise _no_url() from None
        plain = _SENDABLE.fullmatch(base_url) and not parts.query and not parts.fragment and "@" not in parts.netloc
        if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
            raise _no_url()
        secure = parts.scheme == "https"
        tls = ssl.create_default_context() if secure else None
        self._pool = Pool(parts.hostname, port or (443 if secure else 80), tls=tls, largest_answer=_LARGEST_ANSWER)
        self._prefix = parts.path.rstrip("/")
        self._host = parts.netloc
        self._patience = _PATIENCE

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._pool.close()

    async def send(self, request: Request, deadline: float, retries: int | None = None) -> Response:
        """Return an answer of status 200. Raises the error that stands for another, after retries."""
        retries = RETRIES if retries is None else retries
        for attempt in itertools.count():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise UpstreamTimeout("The request's time is up.")
            outcome = await self._attempt(request, left_s)
            if isinstance(outcome, Response):
                self._patience = min(_PATIENCE, self._patience + 1)
                return outcome
            wait_s = outcome.hint_s
            if wait_s is None:
                wait_s = _wait_s(attempt, random)
            tired = attempt >= retries or self._patience < _RETRY_COST or wait_s > _LONGEST_HINT_S
            if tired or not outcome.again or time.monotonic() + wait_s >= deadline:
                raise outcome.error
            self._patience -= _RETRY_COST
            await asyncio.sleep(wait_s)
        raise AssertionError("unreachable")

    async def _attempt(self, request: Request, left_s: float) -> Response | _Failure:
        try:
            response = await self._pool.request(self._raw(request, left_s), timeout_s=left_s)
        except UpstreamTimeout:
            return _Failure(UpstreamTimeout("The gateway did not answer in time."), again=False)
        except InvalidUpstream:
            return _Failure(InvalidUpstream("The gateway's answer is too large."), again=False)
        except Unavailable as exc:
            return _Failure(_unreachable(exc), again=exc.retry is Retry.TRANSIENT)
        return response if response.status in (200, 202) else _failure(response)

    def _raw(self, request: Request, left_s: float) -> bytes:
        headers = [
            ("host", self._host),
            ("accept", "application/json"),
            ("user-agent", "embedrock-python"),
            (header.TIMEOUT_MS.decode(), str(max(1, int(left_s * 1000)))),
            *request.headers,
        ]
        if request.key is not None:
            headers.append(("authorization", f"Bearer {request.key}"))
        if request.method == "POST":
            headers += [("content-type", "application/json"), ("content-length", str(len(request.body)))]
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        return f"{request.method} {self._prefix}{request.path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + request.body


def _wait_s(attempt: int, rng: Callable[[], float]) -> float:
    """Return the seconds to wait after an attempt, from 0; `rng` draws from [0, 1)."""
    return rng() * min(_CAP_S, _BASE_S * 2.0**attempt)


def check_key(key: str) -> str:
    """Return a key that can go into a header. Raises InvalidArgument."""
    if not _SENDABLE.fullmatch(key):
        raise InvalidArgument("'api_key' must be printable ASCII without spaces.", param="api_key")
    return key


def _no_url() -> InvalidArgument:
    return InvalidArgument("A gateway's URL looks like http://127.0.0.1:4000/v1.", param="api_base")


def _unreachable(exc: Unavailable) -> Unavailable:
    error = Unavailable("The gateway could not be reached, or the connection to it broke.", retry=exc.retry)
    if isinstance(exc.__cause__, ssl.SSLCertVerificationError):
        error = Unavailable("The gateway's TLS certificate is not trusted; see SSL_CERT_FILE.")
    error.__cause__ = exc.__cause__
    return error


def _failure(response: Response) -> _Failure:
    try:
        told = msgspec.json.decode(response.body, type=_Envelope).error
    except BROKEN_JSON:
        told = _Error()
    message = told.message or f"The gateway answered {response.status}."
    error = _error(response.status, told, message)
    if request_id := response.headers.get(header.REQUEST_ID):
        error.add_note(f"request id: {request_id.decode('latin-1')}")
    hopeless = response.headers.get(header.SHOULD_RETRY) == b"false"
    again = not hopeless and (response.status in (408, 429) or response.status >= 500)
    return _Failure(error, again, _hint_s(response.headers))


def _error(status: int, told: _Error, message: str) -> EmbedrockError:
    code, param = told.code, told.param
    kind = _BY_CODE.get((status, code)) if isinstance(code, str) else None
    kind = kind or _BY_STATUS.get(status)
    if kind is RateLimited and told.type == TokensLimited.type:
        kind = TokensLimited
    if kind is None:
        return InvalidUpstream(message)
    if kind is ContentBlocked:
        return ContentBlocked(message, param=param or "input", outcome="blocked")
    return kind(message, param=param, code=code if isinstance(code, str) else None)


def _hint_s(headers: Mapping[bytes, bytes]) -> float | None:
    for name, unit_s in ((header.RETRY_AFTER_MS, 0.001), (header.RETRY_AFTER, 1.0)):
        value = headers.get(name, b"")
        if value.isdigit() and len(value) <= 9:
            return int(value) * unit_s
    return None  # an HTTP date too: no gateway of ours sends one
