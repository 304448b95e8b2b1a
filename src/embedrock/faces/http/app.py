"""The ASGI application: key check, error envelope, and the headers of every answer. No framework in between.

Every answer of every path carries `x-request-id`; every error is the envelope of `wire.openai`.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager
from itertools import islice
from random import getrandbits
from typing import Any, Final

from embedrock.errors import (
    ContentBlocked,
    EmbedrockError,
    InternalError,
    MethodNotAllowed,
    Overloaded,
    RateLimited,
    RequestTimeout,
    RequestTooLarge,
    StoreUnavailable,
    UnsupportedMedia,
)
from embedrock.faces.http import headers as header
from embedrock.faces.http import rates, replays
from embedrock.faces.http.auth import Auth
from embedrock.faces.http.bodies import Bodies
from embedrock.faces.http.handlers import AZURE, Route, find_route
from embedrock.faces.http.messages import Answer, Hangup, Receive, Request, Serving, whole
from embedrock.service.bill import Bill, Replay
from embedrock.service.callers import Caller
from embedrock.service.door import Admission
from embedrock.settings import Settings
from embedrock.telemetry import LOGGER
from embedrock.wire import openai
from embedrock.wiring import Gateway, open_gateway

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = logging.getLogger(LOGGER)

#: The ASGI extension of our own server: sends an answer in one write, without a second look at each header.
ANSWER: Final = "embedrock.answer"
#: Another: the tasks at work for a connection, which are cancelled with HUNG_UP when the caller closes it.
WORKING: Final = "embedrock.working"
HUNG_UP: Final = "the caller hung up"
CLOSE: Final = (b"connection", b"close")
MCP_PATH: Final = "/mcp"
_LINES_AT_ONCE: Final = 32  # of a stream: some hundred kilobytes, made within a few milliseconds


class App:
    """The application of one process. What it needs is opened when the server starts."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._auth: Auth | None = None
        self._gateway: Gateway | None = None
        self._bodies = Bodies()
        self._mcp: Route | None = None

    @property
    def gateway(self) -> Gateway:
        if self._gateway is None:
            raise InternalError("The gateway is not open.")
        return self._gateway

    @property
    def auth(self) -> Auth:
        if self._auth is None:
            raise InternalError("The gateway is not open.")
        return self._auth

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with open_gateway(self.settings) as self._gateway, _open_mcp(self.settings, self._gateway) as self._mcp:
            needed = await self._gateway.needs_keys(self.settings)
            self._auth = Auth(self.settings, self._gateway.keys, self._gateway.tokens, needed=needed)
            await send({"type": "lifespan.startup.complete"})
            looking = asyncio.create_task(self._look_for_credentials())
            if self._gateway.database.is_there:  # there may be jobs that another process began
                self._gateway.background.start()
            self._gateway.sweeper.start()
            await self._open_books()
            await receive()
            looking.cancel()
        self._gateway = self._mcp = None
        await send({"type": "lifespan.shutdown.complete"})

    async def _find_caller(self, request: Request, route: Route, scope: Scope) -> Caller:
        address = scope.get("client") or ("",)
        return await self.auth.find(request, azure=route is AZURE, client=address[0])

    async def _open_books(self) -> None:
        """Compare the books at start, and let go of what was held when the gateway was killed."""
        try:
            if await self.gateway.keys.any_usable():
                await self.gateway.billing.open()
        except StoreUnavailable as exc:  # the first request of an account tries again
            _log.warning("%s: %s", exc.code, exc.explained())

    async def _look_for_credentials(self) -> None:
        """Say at start what every request would fail with, and have the first one find them ready."""
        try:
            await self.gateway.find_credentials()
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
        # Milliseconds first: ids of a time are neighbours in an index, whose pages are written less often so.
        request_id = b"req_%012x%020x" % (time.time_ns() // 1_000_000, getrandbits(80))
        try:
            route, answer = await self._handle(scope, receive, request_id)
            seconds = time.perf_counter() - started
            if answer.stream is None:
                answer.headers.append((b"content-length", b"%d" % answer.body.length))
            answer.headers.append((header.REQUEST_ID, request_id))
            answer.headers.append((header.PROCESSING_MS, b"%d" % (seconds * 1000)))
            if answer.stream is not None:
                await _stream(answer, answer.stream, send)
            elif send_whole := extensions.get(ANSWER):
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
        headers = dict(scope["headers"])
        room = self._bodies.room(headers, self.settings.max_body_bytes)
        request = Request(scope["method"], path, headers, scope["headers"], receive, room)
        route = self._mcp if self._mcp is not None and path == MCP_PATH else find_route(path)
        admission: Admission | None = None
        bill: Bill | None = None
        try:
            if route.needs_key:
                caller = self.auth.known(request, azure=route is AZURE)
                request.caller = caller or await self._find_caller(request, route, scope)
                if request.caller.routes is not None:
                    request.caller.check_route(route.right)
            if request.method not in route.methods:
                raise MethodNotAllowed(f"This path takes {route.methods[0]}.")
            if route.embeds and request.caller.limits:
                request.admission = admission = self.gateway.door.open(request.caller)
                await admission.enter()
            if route.embeds and request.caller.account is not None:
                bill = await self.gateway.billing.bill(request_id.decode(), request.caller, request.caller.account)
                request.bill = bill
            with room:
                answer = await route.handler(Serving(self.settings, self.gateway), request)
            if bill is not None:
                await bill.settle()
                if bill.is_claimed:
                    await _remember(bill, answer, request_id)
        except Replay as exc:
            answer = await replays.unpack(exc.answer)
        except EmbedrockError as exc:
            if exc.status >= 500:
                _log.warning("%s %s: %s", request_id.decode(), exc.code, exc.explained())
            answer = _error(exc, route)
        except Hangup:
            raise
        except Exception as exc:  # the last line of defence; a caller gets an envelope whatever happens
            # Only where and what kind: an exception's text may hold what a caller sent.
            where = "".join(traceback.format_tb(exc.__traceback__))
            _log.error("%s unexpected %s\n%s", request_id.decode(), type(exc).__name__, where)
            answer = _error(InternalError("Something went wrong in the gateway."), route)
        finally:
            if bill is not None:
                bill.end()
            if admission is not None:
                admission.leave()
        if admission is not None:
            answer.headers.extend(rates.told(admission))
        return route, answer


async def _remember(bill: Bill, answer: Answer, request_id: bytes) -> None:
    """Keep the answer for the request's idempotency key. It is charged, so it is sent whatever becomes of that."""
    try:
        await bill.remember(await replays.pack(answer))
    except Exception as exc:
        what = exc.code if isinstance(exc, EmbedrockError) else f"unexpected {type(exc).__name__}"
        _log.warning("%s %s: the answer is not kept for its idempotency key", request_id.decode(), what)


@asynccontextmanager
async def _open_mcp(settings: Settings, gateway: Gateway) -> AsyncIterator[Route | None]:
    """Yield what answers MCP_PATH; None where it is off, and then nothing of it is imported."""
    if not settings.mcp:
        yield None
        return
    from embedrock.faces import mcp

    mcp.require_sdk()
    from embedrock.faces.mcp import http

    async with http.open_route(settings, gateway) as route:
        yield route


async def _stream(answer: Answer, pieces: Iterator[bytes], send: Send) -> None:
    """Send an answer as it is made, a few lines at once. One that breaks off is not ended, which its reader sees."""
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    try:
        while piece := b"".join(islice(pieces, _LINES_AT_ONCE)):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0)
    except EmbedrockError as exc:
        _log.warning("%s: %s", exc.code, exc.explained())
        return
    await send({"type": "http.response.body", "body": b""})


def _error(error: EmbedrockError, route: Route) -> Answer:
    answer = whole(openai.encode_error(error), error.status)
    headers = answer.headers
    if error.hopeless:
        headers.append((header.SHOULD_RETRY, b"false"))
    if error.retry_after_s is not None:
        headers.append((header.RETRY_AFTER, b"%d" % error.retry_after_s))
        wait_ms = error.wait_ms if isinstance(error, RateLimited) else error.retry_after_s * 1000
        headers.append((header.RETRY_AFTER_MS, b"%d" % wait_ms))
    if isinstance(error, MethodNotAllowed):
        headers.append((header.ALLOW, ", ".join(route.methods).encode()))
    if isinstance(error, ContentBlocked) and error.outcome is not None:
        headers.append((header.GUARDRAIL, error.outcome.encode()))
    if isinstance(error, RequestTooLarge | RequestTimeout | UnsupportedMedia | Overloaded):
        headers.append(CLOSE)  # the rest of the body, which may still wait for our leave, is not worth reading
    return answer
