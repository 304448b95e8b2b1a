"""Runs the application in uvicorn, in one process or several."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import re
import signal
import socket
import tempfile
from collections.abc import Callable
from functools import partial
from random import getrandbits
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.supervisors import Multiprocess

from embedrock import settings as settings_module
from embedrock.errors import BadRequest
from embedrock.faces.http.app import ANSWER, CLOSE, HUNG_UP, WORKING, App
from embedrock.faces.http.messages import Headers
from embedrock.settings import Settings, SettingsError
from embedrock.wire import openai

_BACKLOG = 2048
_KEEP_ALIVE_S = 75  # longer than the 60 s of the usual load balancer, so it is the one that closes first
_DRAIN_S = 30
_HEAD_BYTES = 8192
_FIRST_S = 30  # for the first request of a connection to be there, head and body
_MOST_CONNECTIONS = 4096  # of a process; it needs files for its calls too
_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


async def _answer(cycle: RequestResponseCycle, status: int, headers: Headers, body: openai.Body) -> None:
    """Send a whole answer in one write, and end the request.

    By ASGI's messages uvicorn looks at each header with two regular expressions, which is right for an application
    it does not know, and writes head and body one by one. Ours sends nothing in a header that a caller wrote.
    """
    if cycle.flow.write_paused and not cycle.disconnected:
        await cycle.flow.drain()  # the caller reads slowly: what it has not read is not added to
    if cycle.disconnected:
        return
    if CLOSE in headers:
        cycle.keep_alive = False
    elif not cycle.keep_alive:
        headers.append(CLOSE)
    head = [STATUS_LINE[status]]
    for name, value in (*cycle.default_headers, *headers):
        head += (name, b": ", value, b"\r\n")
    head.append(b"\r\n")
    pieces = () if cycle.scope["method"] == "HEAD" else body.pieces
    cycle.transport.writelines((b"".join(head), *pieces))
    cycle.response_started = cycle.response_complete = True
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with our envelope where a request is not HTTP, and what the application's extensions need."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        self._working: set[asyncio.Task[None]] = set()
        super().connection_made(transport)
        self._stalled = asyncio.get_running_loop().call_later(_FIRST_S, transport.close)
        if len(self.connections) > _MOST_CONNECTIONS:
            transport.close()

    def on_message_complete(self) -> None:
        self._stalled.cancel()
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stalled.cancel()
        super().connection_lost(exc)
        for task in self._working:
            task.cancel(HUNG_UP)

    def data_received(self, data: bytes) -> None:
        # A request to change the protocol is ignored, as HTTP has it; the parser would stop before the body.
        wished = data.find(b"pgrade:", 0, _HEAD_BYTES) >= 0 or data.find(b"PGRADE:", 0, _HEAD_BYTES) >= 0
        if wished and (self.cycle is None or not self.cycle.more_body):
            head, end, body = data.partition(b"\r\n\r\n")
            data = _UPGRADE.sub(b"\r\nx-ignored-upgrade:", head) + end + body
        super().data_received(data)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        extensions: dict[str, Any] = {ANSWER: partial(_answer, self.cycle), WORKING: self._working}
        self.scope["extensions"] = extensions  # the task that reads it has not begun

    def send_400_response(self, msg: str) -> None:
        body = openai.encode_error(BadRequest(msg, code="invalid_http"))
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            b"x-request-id: req_%032x\r\nx-should-retry: false\r\nconnection: close\r\n\r\n%b"
            % (len(body), getrandbits(128), body)
        )
        self.transport.close()


def worker_app() -> App:
    """Return the application of one of several worker processes, which read the environment again."""
    _quiet_the_garbage_collector()
    return App(settings_module.load(os.environ))


def _quiet_the_garbage_collector() -> None:
    """Let it run rarely.

    Only a request that fails leaves a circle behind; by default it would look at all that is in flight at every tenth
    request. Memory stays level with 60 hang-ups a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 10, 5)


def run(settings: Settings, *, workers: int, listening: Callable[[str], None]) -> None:
    """Serve until stopped. `listening` is told the URL as soon as connections are accepted.

    Raises SettingsError when the address cannot be listened on.
    """
    with _listen(settings.host, settings.port) as server_socket:
        config = uvicorn.Config(
            App(settings) if workers == 1 else f"{__name__}:{worker_app.__name__}",
            factory=workers > 1,
            workers=workers,
            http=Protocol,
            ws="none",
            lifespan="on",
            proxy_headers=False,
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_DRAIN_S,
        )
        if workers == 1:
            _quiet_the_garbage_collector()
            server = uvicorn.Server(config)
            for stop in (signal.SIGINT, signal.SIGTERM):
                # uvicorn drains, then raises the signal again for whoever handled it before: to be stopped is no
                # failure. And a signal that comes before uvicorn handles any is not lost.
                signal.signal(stop, server.handle_exit)
            listening(_url(server_socket))
            server.run(sockets=[server_socket])
            return
        listening(_url(server_socket))
        with tempfile.TemporaryDirectory(prefix="embedrock-metrics-") as shared:
            os.environ["EMBEDROCK_WORKERS"] = str(workers)
            os.environ["EMBEDROCK_METRICS_DIR"] = shared  # for the workers, which read the environment again
            Multiprocess(config, sockets=[server_socket]).run()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as exc:
        hint = "; --port or EMBEDROCK_PORT chooses another, 0 a free one" if exc.errno == errno.EADDRINUSE else ""
        raise SettingsError(f"cannot listen on {host} port {port}: {os.strerror(exc.errno or 0)}{hint}") from None


def _url(server_socket: socket.socket) -> str:
    host, port = server_socket.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
