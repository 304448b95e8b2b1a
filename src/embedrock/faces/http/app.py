"""The ASGI application: routes, key check, limits, error envelope, headers. No framework in between.

Every answer of every path carries `x-request-id`; every error is the envelope of `wire.openai`. Routing looks at the
path as it came over the wire, so nothing that is encoded in it can mean another route.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from hashlib import sha256
from random import getrandbits
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from embedrock.catalog import MODELS
from embedrock.errors import (
    BadRequest,
    EmbedrockError,
    InternalError,
    MethodNotAllowed,
    ModelNotFound,
    NotFound,
    RequestTooLarge,
    Unauthenticated,
    UnsupportedMedia,
)
from embedrock.families import FAMILIES
from embedrock.settings import Settings
from embedrock.telemetry import LOGGER
from embedrock.wire import openai
from embedrock.wiring import Gateway, open_gateway

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_log = logging.getLogger(LOGGER)

#: The ASGI extension of our own server: sends an answer in one write, without a second look at each header.
ANSWER: Final = "embedrock.answer"
#: Another: the tasks at work for a connection, which are cancelled with HUNG_UP when the caller closes it.
WORKING: Final = "embedrock.working"
HUNG_UP: Final = "the caller hung up"
CLOSE: Final = (b"connection", b"close")
_JSON_TYPE: Final = re.compile(rb'application/json(\s*;\s*charset="?utf-8"?)?\s*', re.IGNORECASE)
_JSON: Final = (b"content-type", b"application/json")
_ERROR_MESSAGE_CHARS: Final = 200  # of a path quoted in a 404


class Request(NamedTuple):
    """One request, its body not read yet."""

    method: str
    path: str  # as it came over the wire, percent-encoding and all
    headers: dict[bytes, bytes]  # lower-case names; of a repeated one the last
    receive: Receive


class Answer(NamedTuple):
    """What a handler returns."""

    body: openai.Body
    headers: Headers
    status: int = 200


class Hangup(Exception):
    """The caller closed the connection: there is nobody to answer."""


Handler = Callable[["App", Request], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """What answers a path; `name` is the label of its metrics."""

    name: str
    methods: tuple[str, ...]
    handler: Handler
    needs_key: bool = True


class App:
    """The application of one process. What it needs is opened when the server starts."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._key_digests = frozenset(sha256(key.encode()).digest() for key in settings.api_key)
        self._gateway: Gateway | None = None

    @property
    def gateway(self) -> Gateway:
        if self._gateway is None:
            raise InternalError("The gateway is not open.")
        return self._gateway

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with open_gateway(self.settings) as self._gateway:
            await send({"type": "lifespan.startup.complete"})
            looking = asyncio.create_task(self._look_for_credentials())
            await receive()
            looking.cancel()
        self._gateway = None
        await send({"type": "lifespan.shutdown.complete"})

    async def _look_for_credentials(self) -> None:
        """Say at start what every request would fail with, and have the first one find them ready."""
        try:
            if self.gateway.credentials is not None:
                await self.gateway.credentials.get()
        except EmbedrockError as exc:
            _log.warning("%s: %s", exc.code, exc.explained())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._live(receive, send)
            return
        # Taken out: they lead back to the scope, and a circle would be left to the garbage collector at each request.
        extensions = scope.pop("extensions", {})
        working: set[asyncio.Task[Any]] = extensions.get(WORKING, set())
        task = asyncio.current_task()
        working.add(task)  # type: ignore[arg-type]  # there is one
        started = time.perf_counter()
        request_id = b"req_%032x" % getrandbits(128)
        try:
            route, answer = await self._handle(scope, receive, request_id)
            seconds = time.perf_counter() - started
            answer.headers.append((b"content-length", b"%d" % answer.body.length))
            answer.headers.append((b"x-request-id", request_id))
            answer.headers.append((b"openai-processing-ms", b"%d" % (seconds * 1000)))
            if send_whole := extensions.get(ANSWER):
                await send_whole(answer.status, answer.headers, answer.body)
            else:
                await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
                await send({"type": "http.response.body", "body": b"".join(answer.body.pieces)})
            self.gateway.metrics.request(route.name, answer.status, seconds)
        except Hangup:
            return
        except asyncio.CancelledError as exc:
            if exc.args != (HUNG_UP,):
                raise
        finally:
            working.discard(task)

    async def _handle(self, scope: Scope, receive: Receive, request_id: bytes) -> tuple[Route, Answer]:
        """Return what answers the request, and the answer, whatever happens. Raises Hangup."""
        path = scope["raw_path"].decode("latin-1")
        request = Request(scope["method"], path, dict(scope["headers"]), receive)
        route = _ROUTES.get(path) or _find_route(path)
        try:
            if route.needs_key and self._key_digests:
                self._check_key(scope["headers"])
            if request.method not in route.methods:
                raise MethodNotAllowed(f"This path takes {route.methods[0]}.")
            return route, await route.handler(self, request)
        except EmbedrockError as exc:
            if exc.status >= 500:
                _log.warning("%s %s: %s", request_id.decode(), exc.code, exc.explained())
            return route, _error(exc, route)
        except Hangup:
            raise
        except Exception as exc:  # the last line of defence; a caller gets an envelope whatever happens
            # Only where and what kind: an exception's text may hold what a caller sent.
            where = "".join(traceback.format_tb(exc.__traceback__))
            _log.error("%s unexpected %s\n%s", request_id.decode(), type(exc).__name__, where)
            return route, _error(InternalError("Something went wrong in the gateway."), route)

    def _check_key(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        sent = [value for name, value in headers if name == b"authorization"]
        if not sent:
            raise Unauthenticated("No API key was sent. Send it as 'Authorization: Bearer <key>'.")
        scheme, _, key = sent[0].partition(b" ")
        # Digests are compared, not keys: how long it takes tells nothing about a key.
        if len(sent) > 1 or scheme.lower() != b"bearer" or sha256(key).digest() not in self._key_digests:
            raise Unauthenticated("The API key is not one of this gateway.", code="invalid_api_key")


async def embeddings(app: App, request: Request) -> Answer:
    """POST /v1/embeddings."""
    timeout_s = _timeout(request.headers)
    ask = openai.decode_request(await _read_json(request, app.settings.max_body_bytes))
    reply = await app.gateway.embedder.embed(
        ask.model, ask.input, render=ask.render, dimensions=ask.dimensions, timeout_s=timeout_s
    )
    headers = [
        _JSON,
        (b"openai-model", reply.target.spec.id.encode()),
        (b"x-embedrock-usage", b"reported" if reply.reported else b"estimated"),
        (b"x-embedrock-region", reply.target.region.encode()),
        (b"x-embedrock-upstream-calls", b"%d" % reply.calls),
    ]
    if reply.emptied:
        headers.append((b"x-embedrock-empty", _indexes(reply.emptied)))
    return Answer(openai.encode_response(ask.model, reply.vectors, reply.tokens), headers)


async def list_models(app: App, request: Request) -> Answer:  # noqa: ARG001
    """GET /v1/models."""
    served = (spec for spec in MODELS.values() if spec.family in FAMILIES)
    return _whole(openai.encode_models(served, app.settings.max_inputs))


async def show_model(app: App, request: Request) -> Answer:
    """GET /v1/models/{id}, the id raw or percent-encoded, and any other name of a model."""
    name = unquote(request.path.partition("/models/")[2])
    spec = app.gateway.names.find(name).spec
    if spec.family not in FAMILIES:
        raise ModelNotFound(f"This version of Embedrock cannot call {spec.id} yet.", param="model")
    return _whole(openai.encode_model(name, spec, app.settings.max_inputs))


async def live(app: App, request: Request) -> Answer:  # noqa: ARG001
    """GET /health/live: the process answers."""
    return _whole(b'{"status":"live"}')


async def ready(app: App, request: Request) -> Answer:  # noqa: ARG001
    """GET /health/ready: there are credentials to call Bedrock with."""
    if app.gateway.credentials is not None:
        await app.gateway.credentials.get()
    return _whole(b'{"status":"ready"}')


async def metrics(app: App, request: Request) -> Answer:  # noqa: ARG001
    """GET /metrics, for Prometheus."""
    body, content_type = app.gateway.metrics.expose()
    return Answer(openai.Body(len(body), (body,)), [(b"content-type", content_type.encode())])


async def nothing(app: App, request: Request) -> Answer:  # noqa: ARG001
    """Any other path."""
    raise NotFound(f"Nothing lives at {_shown(request)}. The base URL for OpenAI clients ends in /v1.")


_GET: Final = ("GET", "HEAD")
_EMBEDDINGS: Final = Route("embeddings", ("POST",), embeddings)
_MODELS: Final = Route("models", _GET, list_models)
_MODEL: Final = Route("model", _GET, show_model)
_ROUTES: Final = {
    "/v1/embeddings": _EMBEDDINGS,
    "/embeddings": _EMBEDDINGS,
    "/v1/models": _MODELS,
    "/models": _MODELS,
    "/health/live": Route("live", _GET, live, needs_key=False),
    "/health/ready": Route("ready", _GET, ready, needs_key=False),
    "/metrics": Route("metrics", _GET, metrics, needs_key=False),
}
_NOTHING: Final = Route("unknown", ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"), nothing)


def _find_route(path: str) -> Route:
    return _MODEL if path.startswith(("/v1/models/", "/models/")) else _NOTHING


def _error(error: EmbedrockError, route: Route) -> Answer:
    answer = _whole(openai.encode_error(error), error.status)
    headers = answer.headers
    if error.hopeless:
        headers.append((b"x-should-retry", b"false"))
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
        headers.append((b"retry-after-ms", b"%d" % (error.retry_after_s * 1000)))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(route.methods).encode()))
    if isinstance(error, RequestTooLarge | UnsupportedMedia):
        headers.append(CLOSE)  # the rest of the body, which may still wait for our leave, is not worth reading
    return answer


def _whole(body: bytes, status: int = 200) -> Answer:
    return Answer(openai.Body(len(body), (body,)), [_JSON], status)


async def _read_json(request: Request, limit: int) -> bytes:
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


def _timeout(headers: dict[bytes, bytes]) -> float | None:
    """Return the caller's own limit in seconds. Raises BadRequest when it is no positive whole number."""
    value = headers.get(b"x-request-timeout-ms")
    if value is None:
        return None
    if not value.isdigit() or not 0 < len(value) <= 12 or int(value) == 0:
        raise BadRequest(
            "'x-request-timeout-ms' must be a positive whole number.",
            param="x-request-timeout-ms",
            code="invalid_value",
        )
    return int(value) / 1000


def _indexes(indexes: Iterable[int]) -> bytes:
    return ",".join(map(str, indexes)).encode()


def _shown(request: Request) -> str:
    shown = f"{request.method} {request.path}"
    return shown if shown.isascii() and shown.isprintable() and len(shown) <= _ERROR_MESSAGE_CHARS else "this path"
