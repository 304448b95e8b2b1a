"""Pooled HTTP/1.1 to one host, over TLS or plain.

One request at a time on a connection, its answer read whole. A connection goes back to the pool only when its answer
was read to the last byte and the peer keeps it open; after an error, a timeout or a cancellation it is closed, so no
reply can ever reach another request.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from typing import Final, NamedTuple, cast

import httptools

from embedrock.errors import InvalidUpstream, Retry, Unavailable, UpstreamTimeout

_BUFFER_BYTES: Final = 65536  # 16 KiB, one TLS record, is slower on plain connections; 256 KiB gains nothing
_SWEEP_EVERY_S: Final = 0.05  # how late a timeout may be
_LARGEST_ANSWER: Final = 25_000_000  # Bedrock's limit for a body, AWS API reference, InvokeModel


class Response(NamedTuple):
    """One answer, read whole. Header names are in lower case; of a repeated header the last one stays."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes | bytearray


class _Stale(Exception):
    """A kept connection turned out to be closed before it answered anything."""


class _Connection(asyncio.BufferedProtocol):
    """One connection. The httptools parser calls the `on_…` methods.

    It reads into buffers that are there: otherwise uvloop's TLS allocates 256 KiB for every read, which doubled
    the CPU of a call. A body of known length that is not there at once is read straight into its place, past the
    parser: a call for 96 texts answers 1.2 MB, and each copy of it costs a tenth of the call.
    """

    def __init__(self, buffer: bytearray, largest_answer: int, peer: str) -> None:
        self._largest_answer = largest_answer
        self._peer = peer
        self._parser = httptools.HttpResponseParser(self)
        self._view = memoryview(buffer)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Response] | None = None
        self._headers: dict[bytes, bytes] = {}
        self._chunks: list[bytes] = []
        self._size = 0
        self._length: int | None = None  # of the answer being read, while it is known and the body not complete
        self._body = bytearray()  # of known length, being filled
        self._rest: memoryview | None = None  # what is still to be filled of it
        self._bodiless = False  # whatever its head says, the answer has no body: it is one to HEAD
        self._used = False  # has answered at least once
        self._started = False  # a byte of the present answer arrived
        self.give_up = 0.0  # when the present answer is too late
        self.idle_since = 0.0
        self.open = False

    async def exchange(self, request: bytes, give_up: float) -> Response:
        """Send `request` and return its answer. Raises UpstreamTimeout, Unavailable or _Stale.

        Somebody else calls `time_out` when it is later than `give_up`.
        """
        if self._transport is None or not self.open:
            raise _Stale
        self._waiter = asyncio.get_running_loop().create_future()
        self.give_up = give_up
        self._bodiless = request.startswith(b"HEAD ")
        self._started = False
        self._transport.write(request)
        try:
            return await self._waiter
        except BaseException:
            self.close()  # also when cancelled: the answer may still be on its way
            raise
        finally:
            self._waiter = None

    def time_out(self) -> None:
        self._fail(UpstreamTimeout(f"{self._peer} did not answer in time.", retry=Retry.TRANSIENT))

    def close(self) -> None:
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.open = True

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        if self._rest is not None and len(self._rest) > _BUFFER_BYTES:
            return self._rest[:-1]  # the last bytes come through the buffer, where one too many is seen
        return self._view  # not the bytearray: asyncio's TLS slices what it gets, and would read into a copy

    def buffer_updated(self, nbytes: int) -> None:
        if self._waiter is None or self._waiter.done():
            self.close()  # nobody asked: whatever this is, it is nobody's answer
            return
        self._started = True
        if self._rest is not None:
            self._fill(self._rest, nbytes)
            return
        try:
            self._parser.feed_data(self._view[:nbytes])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(Unavailable(f"{self._peer}'s answer was not HTTP.", retry=Retry.TRANSIENT))
            self.close()  # also when it was what came behind a good answer
            return
        if self._bodiless and self._waiter.done():
            self._parser = httptools.HttpResponseParser(self)  # the old one waits for a body
        elif self._length is not None and self._chunks and not self._waiter.done():
            self._read_past_the_parser(self._length)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.open = False
        if self._used and not self._started:
            self._fail(_Stale())
        else:
            self._fail(Unavailable(f"The connection to {self._peer} broke.", retry=Retry.TRANSIENT))

    # httptools

    def on_message_begin(self) -> None:
        self._headers = {}
        self._chunks = []
        self._size = 0
        self._length = None
        if self._waiter is None or self._waiter.done():
            self.close()  # a second answer to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        if self._bodiless and self._parser.get_status_code() >= 200:
            self._complete(b"")
            return
        length = self._headers.get(b"content-length", b"")
        if length.isdigit() and b"transfer-encoding" not in self._headers:
            self._length = int(length)
            if self._length > self._largest_answer:
                self._fail(self._too_large())

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)
        self._size += len(body)
        if self._size > self._largest_answer:
            self._fail(self._too_large())

    def on_message_complete(self) -> None:
        self._length = None
        if self._parser.get_status_code() >= 200:  # a 100 Continue is not yet the answer
            self._complete(self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks))

    def _read_past_the_parser(self, length: int) -> None:
        self._body = bytearray(length)
        there = b"".join(self._chunks)
        self._body[: len(there)] = there
        self._rest = memoryview(self._body)[len(there) :]

    def _fill(self, rest: memoryview, nbytes: int) -> None:
        if len(rest) <= _BUFFER_BYTES:
            if nbytes > len(rest):
                self.open = False  # more than it said it would send: whatever follows is no answer
                nbytes = len(rest)
            rest[:nbytes] = self._view[:nbytes]
        self._rest = rest[nbytes:]
        if not self._rest:
            self._complete(self._body)
            self._rest = None
            self._body = bytearray()
            self._parser = httptools.HttpResponseParser(self)  # the old one still waits for the body

    def _complete(self, body: bytes | bytearray) -> None:
        if not self._parser.should_keep_alive():
            self.open = False
        self._used = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(Response(self._parser.get_status_code(), self._headers, body))

    def _fail(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    def _too_large(self) -> InvalidUpstream:
        return InvalidUpstream(f"{self._peer}'s answer is larger than {self._peer}'s answers can be.")


class Pool:
    """Connections to one host and port: newest first, at most `size`, none older than `keep_alive_s` unused."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None,
        size: int = 512,
        keep_alive_s: float = 50.0,  # load balancers and NAT drop idle connections after 60 s and more
        connect_timeout_s: float = 5.0,
        largest_answer: int = _LARGEST_ANSWER,
        peer: str = "Bedrock",
    ) -> None:
        self._peer = peer  # what errors call it
        self._host = host
        self._port = port
        self._tls = tls
        self._keep_alive_s = keep_alive_s
        self._connect_timeout_s = connect_timeout_s
        self._largest_answer = largest_answer
        self._slots = asyncio.Semaphore(size)
        self._idle: deque[_Connection] = deque()
        self._busy: set[_Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        # One for all: what is read is used up before the event loop reads from another connection.
        self._buffer = bytearray(_BUFFER_BYTES)

    async def request(self, request: bytes, *, timeout_s: float) -> Response:
        """Send a whole HTTP request and return its answer.

        Raises UpstreamTimeout when the answer takes longer than `timeout_s`, Unavailable when there is none.
        """
        give_up = time.monotonic() + timeout_s
        if self._slots.locked():
            await self._wait_for_slot(timeout_s)
        else:
            await self._slots.acquire()
        try:
            if kept := self._take():
                try:
                    return await self._exchange(kept, request, give_up)
                except _Stale:
                    pass  # closed while it lay idle, as far as we can tell: a fresh connection takes over
            try:
                return await self._exchange(await self._connect(give_up), request, give_up)
            except _Stale:
                raise Unavailable(f"The connection to {self._peer} broke.", retry=Retry.TRANSIENT) from None
        finally:
            self._slots.release()

    def close(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        while self._idle:
            self._idle.pop().close()

    async def _wait_for_slot(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._slots.acquire()
        except TimeoutError:
            raise UpstreamTimeout(f"No connection to {self._peer} got free in time.") from None

    async def _exchange(self, connection: _Connection, request: bytes, give_up: float) -> Response:
        self._busy.add(connection)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(_SWEEP_EVERY_S, self._time_out_the_late)
        try:
            response = await connection.exchange(request, give_up)
        finally:
            self._busy.discard(connection)
        if connection.open:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.close()
        return response

    def _time_out_the_late(self) -> None:
        # One timer for all calls in flight: a timer for each costs more than all else the pool does.
        self._sweep = None
        now = time.monotonic()
        for connection in self._busy:
            if connection.give_up <= now:
                connection.time_out()
        if self._busy:
            self._sweep = asyncio.get_running_loop().call_later(_SWEEP_EVERY_S, self._time_out_the_late)

    def _take(self) -> _Connection | None:
        oldest_allowed = time.monotonic() - self._keep_alive_s
        while self._idle and (self._idle[0].idle_since < oldest_allowed or not self._idle[0].open):
            self._idle.popleft().close()
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        return None

    async def _connect(self, give_up: float) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(min(self._connect_timeout_s, give_up - time.monotonic())):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self._buffer, self._largest_answer, self._peer),
                    self._host,
                    self._port,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls else None,
                )
        except TimeoutError as exc:
            raise Unavailable(f"{self._peer} could not be reached in time.", retry=Retry.TRANSIENT) from exc
        except ssl.SSLCertVerificationError as exc:
            raise Unavailable(f"{self._peer}'s TLS certificate is not trusted; see AWS_CA_BUNDLE.") from exc
        except OSError as exc:
            raise Unavailable(f"{self._peer} could not be reached.", retry=Retry.TRANSIENT) from exc
        return connection
