"""Runs the application in uvicorn, in one process or several."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable
from random import getrandbits

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


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with our envelope where a request is not HTTP."""

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
        listening(_url(server_socket))
        if workers == 1:
            uvicorn.Server(config).run(sockets=[server_socket])
            return
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
