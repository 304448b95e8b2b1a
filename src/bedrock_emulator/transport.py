"""Reaching under HTTP: the connection of a request, so that a fault can reset it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

TRANSPORT = "bedrock_emulator.transport"  # a member of the ASGI scope's `extensions`
_LINGER_0 = struct.pack("ii", 1, 0)


class EmulatorProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with the transport in the scope."""

    def on_message_begin(self) -> None:
        """Start a request."""
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT: self.transport}  # type: ignore[dict-item]


async def reset(transport: asyncio.Transport, receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> None:
    """Reset a connection once what was written has left, and return when it is gone."""
    while transport.get_write_buffer_size() > 0 and not transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(0.001)  # no event tells of it
    # Without lingering, close sends RST instead of FIN.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass
