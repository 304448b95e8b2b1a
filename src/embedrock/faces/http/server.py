"""Runs the application in uvicorn, in one process or several."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import Callable
from random import getrandbits
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import Multiprocess

from embedrock import settings as settings_module
from embedrock.errors import BadRequest
from embedrock.faces.http.app import App
from embedrock.settings import Settings, SettingsError
from embedrock.wire import openai

_BACKLOG = 2048
_KEEP_ALIVE_S = 75  # longer than the 60 s of the usual load balancer, so it is the one that closes first
_DRAIN_S = 30


class _HeadWithBody:
    """A transport that sends the head of an answer together with the first piece of its body.

    uvicorn writes them one after the other, and each write is a system call of its own: a tenth of a request's CPU.
    """

    __slots__ = ("_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if self._head:
            self._transport.writelines((self._head, data))
            self._head = b""
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):
            self._head = data  # of an answer that is not informational: its body comes next
        else:
            self._transport.write(data)

    def flush(self) -> None:
        if self._head:  # of an answer without a body, to HEAD
            self._transport.write(self._head)
            self._head = b""

    def close(self) -> None:
        self.flush()
        self._transport.close()


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with fewer writes, and our envelope where a request is not HTTP."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        self._joined = _HeadWithBody(transport)
        super().connection_made(cast("asyncio.Transport", self._joined))

    def on_response_complete(self) -> None:
        self._joined.flush()
        super().on_response_complete()

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
    return App(settings_module.load(os.environ))


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
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_DRAIN_S,
        )
        if workers == 1:
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
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared  # the workers add up their metrics in files there
            Multiprocess(config, sockets=[server_socket]).run()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as exc:
        raise SettingsError(f"cannot listen on {host} port {port}: {os.strerror(exc.errno or 0)}") from None


def _url(server_socket: socket.socket) -> str:
    host, port = server_socket.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
