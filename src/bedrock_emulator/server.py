"""The process: listen, announce, stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Generator

import uvicorn

from .app import Emulator
from .transport import EMULATED, EmulatorProtocol

BANNER = "This is an emulator, not AWS: its vectors are made from the words of the text, not by a model."


class _Server(uvicorn.Server):
    """uvicorn's server, with our announcement and without its handling of signals."""

    def __init__(self, config: uvicorn.Config, *, url: str) -> None:
        super().__init__(config)
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets=sockets)
        sys.stdout.write(f"bedrock-emulator listening on {self._url}\n{BANNER}\n")
        sys.stdout.flush()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop at SIGTERM and SIGINT, and exit with 0: uvicorn would raise the signal again."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        yield

    def stop(self) -> None:
        """Begin to stop; a second time, do not wait for open connections."""
        self.force_exit = self.should_exit
        self.should_exit = True

    def stop_at_end_of_input(self) -> None:
        """Stop when standard input ends, as it does when the parent process is gone."""
        loop = asyncio.get_running_loop()

        def wait() -> None:
            while os.read(0, 65536):
                pass
            with contextlib.suppress(RuntimeError):  # the loop is closed: we are stopping already
                loop.call_soon_threadsafe(self.stop)

        threading.Thread(target=wait, daemon=True, name="end-of-input").start()


def run(
    app: Emulator,
    *,
    host: str,
    port: int,
    certfile: str | None = None,
    keyfile: str | None = None,
    exit_with_parent: bool = False,
) -> None:
    """Serve until SIGTERM, SIGINT, or (with `exit_with_parent`) the end of standard input.

    Port 0 takes any free one. Raises OSError when the address cannot be had.
    """
    listener = socket.create_server(
        (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048
    )
    scheme, shown = "https" if certfile else "http", f"[{host}]" if ":" in host else host
    config = uvicorn.Config(
        app,
        http=EmulatorProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        headers=[EMULATED],
        timeout_keep_alive=60,
        timeout_graceful_shutdown=2,
        ssl_certfile=certfile,
        ssl_keyfile=keyfile,
    )
    server = _Server(config, url=f"{scheme}://{shown}:{listener.getsockname()[1]}")

    async def serve() -> None:
        if exit_with_parent:
            server.stop_at_end_of_input()
        await server.serve(sockets=[listener])

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(serve())
