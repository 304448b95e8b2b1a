"""MCP over HTTP, at `/mcp` of the gateway: the SDK's session manager behind the gateway's own door.

Keys, limits, request ids, metrics and the end of a request whose caller hangs up are the gateway's, as on every path.
Nothing is kept between requests, and an answer is one JSON document: any worker can answer any request. That leaves
nothing for the protocol's GET and DELETE to do, which the protocol lets a server refuse.

Host and Origin are checked by the SDK: a page in a browser that leads a name of its own to this address (DNS
rebinding) says so in both. Pages have no business here, so any Origin is refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, Final

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings

from embedrock.errors import BadRequest
from embedrock.faces.http import bedrock_headers
from embedrock.faces.http import headers as header
from embedrock.faces.http.handlers import Route
from embedrock.faces.http.messages import Answer, Receive, Request, Serving, read_json, timeout, whole
from embedrock.faces.mcp.server import ASKED, create_server
from embedrock.faces.mcp.tools import Asked, Tools
from embedrock.settings import Settings
from embedrock.wire import openai
from embedrock.wiring import Gateway

_THIS_MACHINE: Final = ("127.0.0.1", "localhost", "[::1]")
#: What the SDK's plain refusals mean, by their status: the header, and what to say.
_REFUSED: Final = {
    403: ("Origin", "Web pages may not use MCP: the request has an 'Origin'."),
    406: ("Accept", "MCP's answers are JSON: send 'Accept: application/json, text/event-stream'."),
    421: ("Host", "MCP is not served under the name in 'Host'; EMBEDROCK_MCP_HOSTS adds names."),
}


@asynccontextmanager
async def open_route(settings: Settings, gateway: Gateway) -> AsyncIterator[Route]:
    """Yield what answers `/mcp`."""
    manager = StreamableHTTPSessionManager(
        create_server(Tools(settings, gateway)),
        json_response=True,
        stateless=True,
        security_settings=TransportSecuritySettings(allowed_hosts=allowed_hosts(settings), allowed_origins=[]),
        max_request_body_size=settings.max_body_bytes,
    )

    async def answer(serving: Serving, request: Request) -> Answer:
        """POST /mcp."""
        bedrock = bedrock_headers.read(request.headers, request.raw_headers)
        body = await read_json(request, serving.settings.max_body_bytes)
        scope = _scope(request) | {
            ASKED: Asked(bedrock, timeout(request.headers), request.caller, request.admission, request.bill)
        }
        collected = _Collected()
        await manager.handle_request(scope, _replay(body, request.receive), collected.send)
        return collected.answer()

    async with manager.run():
        yield Route("mcp", ("POST",), answer, embeds=True, right="mcp")


def allowed_hosts(settings: Settings) -> list[str]:
    """Return the values of Host that are answered, as the SDK writes them: each name with any port, or none.

    The port tells nothing about who asks, and differs from ours behind a proxy or a container's mapping.
    """
    bound = f"[{settings.host}]" if ":" in settings.host else settings.host
    names = dict.fromkeys((*_THIS_MACHINE, bound, *settings.mcp_hosts))
    return [pattern for name in names for pattern in (name, f"{name}:*")]


def _scope(request: Request) -> dict[str, Any]:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.path,
        "raw_path": request.path.encode("latin-1"),
        "query_string": b"",
        "headers": request.raw_headers,
    }


def _replay(body: bytes | bytearray, receive: Receive) -> Receive:
    """Return an ASGI `receive` that gives a body which has been read, and then what comes after it."""
    given = False

    async def replay() -> MutableMapping[str, Any]:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    return replay


class _Collected:
    """An ASGI `send` that keeps the answer."""

    def __init__(self) -> None:
        self._status = 500
        self._headers: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            # The length is written by who writes the answer.
            self._headers = [(name, value) for name, value in message["headers"] if name != b"content-length"]
        elif piece := message.get("body", b""):
            self._pieces.append(piece)

    def answer(self) -> Answer:
        """Return the answer; what the SDK refused in plain text, before it looked at a message, as our envelope."""
        if self._status in _REFUSED:
            name, said = _REFUSED[self._status]
            error = BadRequest(said, param=name, code="invalid_header_value")
            refused = whole(openai.encode_error(error), self._status)
            refused.headers.append((header.SHOULD_RETRY, b"false"))
            return refused
        return Answer(openai.Body(sum(map(len, self._pieces)), self._pieces), self._headers, self._status)
