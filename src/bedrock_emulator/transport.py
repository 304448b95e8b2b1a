"""Reaching under HTTP: the connection of a request, so that an answer can break off, wait, or break HTTP's rules."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import Any, TypeAlias

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers: TypeAlias = Iterable[tuple[bytes, bytes]]

EMULATED = ("x-bedrock-emulator", "true")  # a header of every answer
ARRIVED = "bedrock_emulator.arrived"  # when a request began, by time.perf_counter; a member of the scope
_PROTOCOL = "bedrock_emulator.protocol"  # another one
_LINGER_0 = struct.pack("ii", 1, 0)


class EmulatorProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which requests can reach by their scope."""

    reset_next = False

    def on_message_begin(self) -> None:
        """Start a request."""
        super().on_message_begin()
        self.scope |= {ARRIVED: time.perf_counter(), _PROTOCOL: self}  # type: ignore[misc]

    def data_received(self, data: bytes) -> None:
        """Read, or reset the connection when that is what a fault left behind."""
        if self.reset_next:
            self.abort()
        else:
            super().data_received(data)

    def abort(self) -> None:
        """Close with RST instead of FIN: that is what a close without lingering sends."""
        if not self.transport.is_closing():
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
            self.transport.abort()


class Connection:
    """The connection of one request.

    An answer is either sent by `start` and `body`, under the eyes of the server, or written past it by `write`; one
    that is written has to end with the connection.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._protocol: EmulatorProtocol = scope[_PROTOCOL]
        self._scope = scope
        self.receive = receive
        self._send = send

    def altered(self, change: Callable[[bytes, int, int], bytes | None]) -> Connection:
        """Return a connection that changes the pieces of a body.

        `change` is given each with its place and the body's length; for None nothing is sent, and after a piece that
        became shorter the answer counts as not yet whole.
        """
        at = length = 0

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal at, length
            if message["type"] == "http.response.start":
                length = int(dict(message["headers"])[b"content-length"])
            else:
                sent = message["body"]
                changed = change(sent, at, length)
                at += len(sent)
                if changed is None:
                    return
                message = {**message, "body": changed, "more_body": message["more_body"] or len(changed) < len(sent)}
            await self._send(message)

        return Connection(self._scope, self.receive, send)

    async def send(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole answer."""
        await self.start(status, headers, len(body))
        await self.body(body)

    async def start(self, status: int, headers: Headers, length: int) -> None:
        """Send the head of an answer whose body has so many bytes."""
        sent = [*headers, (b"content-length", b"%d" % length)]
        await self._send({"type": "http.response.start", "status": status, "headers": sent})

    async def body(self, data: bytes, *, more: bool = False) -> None:
        """Send a part of the body, by default the last one."""
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    def write(self, data: bytes) -> None:
        """Write what HTTP does not allow, or at another time."""
        if not self._protocol.transport.is_closing():
            self._protocol.transport.write(data)

    def write_head(self, status: int, headers: Headers) -> None:
        """Write the head of an answer with these headers only, and that it is emulated."""
        name, value = EMULATED
        lines = [b"HTTP/1.1 %d %b" % (status, HTTPStatus(status).phrase.encode())]
        lines += [b"%b: %b" % header for header in (*headers, (name.encode(), value.encode()))]
        self.write(b"\r\n".join((*lines, b"", b"")))

    async def gone(self, within_s: float | None = None) -> bool:
        """Wait until the connection is gone, or for so many seconds at most; return whether it is."""
        try:
            async with asyncio.timeout(within_s):
                while (await self.receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Close once what was written has left, and return when the connection is gone."""
        self._protocol.transport.close()
        await self.gone()

    async def reset(self) -> None:
        """Reset once what was written has left, and return when the connection is gone."""
        transport = self._protocol.transport
        while transport.get_write_buffer_size() > 0 and not transport.is_closing():  # noqa: ASYNC110
            await asyncio.sleep(0.001)  # no event tells of it
        self._protocol.abort()
        await self.gone()

    def close_when_idle(self, after_s: float) -> None:
        """Close without notice when so much time has passed after this answer, unless a request comes before."""
        self._protocol.timeout_keep_alive = after_s  # type: ignore[assignment]  # uvicorn's own default is whole

    def reset_when_used(self) -> None:
        """Reset when the next request comes."""
        self._protocol.reset_next = True
