"""The pool against a server that behaves as told: every answer reaches its own request, or none does."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import pytest

from embedrock.errors import EmbedrockError, Retry, Unavailable, UpstreamTimeout
from embedrock.upstream.connection import Pool, Response

Serve: TypeAlias = "Callable[[Peer], Awaitable[None]]"
_SECOND = 1.0


@dataclass
class Peer:
    """The server's end of one connection; `number` counts from 1."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    server: Server

    async def request(self) -> bytes | None:
        """Return the body of the next request, or None when the pool has closed."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
            size = int(head.rpartition(b"content-length: ")[2].split(b"\r\n")[0])
            body = await self.reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.server.closed.append(self.number)
            return None
        self.server.requests.append((self.number, body))
        return body

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()


@dataclass
class Server:
    """What a server saw: (connection, body) of each request, and the connections that the pool closed."""

    port: int = 0
    opened: int = 0
    requests: list[tuple[int, bytes]] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)


@asynccontextmanager
async def serving(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Run `serve` for each connection."""
    server = Server()
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        server.opened += 1
        try:
            await serve(Peer(reader, writer, server.opened, server))
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()
            tasks.discard(task)

    listener = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5)


@asynccontextmanager
async def pool_to(server: Server, **options: float) -> AsyncIterator[Pool]:
    pool = Pool("127.0.0.1", server.port, tls=None, **options)  # type: ignore[arg-type]  # size is an int
    try:
        yield pool
    finally:
        pool.close()


def request(body: bytes = b"hello") -> bytes:
    return b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def answer(body: bytes, headers: bytes = b"", status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status, headers, len(body), body)


async def echo(peer: Peer) -> None:
    """Answer each request with its own body."""
    while (body := await peer.request()) is not None:
        await peer.send(answer(body))


def once_then_echo(first: Callable[[Peer, bytes], Awaitable[None]]) -> Serve:
    """Treat the first request of the first connection as `first` does, and echo all others."""

    async def serve(peer: Peer) -> None:
        if peer.number == 1 and (body := await peer.request()) is not None:
            await first(peer, body)
        await echo(peer)

    return serve


async def until(true: Callable[[], bool]) -> None:
    """Poll until `true()`; fail after some seconds."""
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.005)


# Reuse


async def test_one_connection_serves_requests_one_after_another() -> None:
    async with serving(echo) as server, pool_to(server) as pool:
        bodies = [(await pool.request(request(b"%d" % n), timeout_s=_SECOND)).body for n in range(50)]

    assert bodies == [b"%d" % n for n in range(50)]
    assert server.opened == 1


async def test_answer_comes_with_status_and_headers_in_lower_case() -> None:
    async def serve(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(b"no", b"X-Amzn-ErrorType: ThrottlingException\r\n", b"429 Too Many"))

    async with serving(serve) as server, pool_to(server) as pool:
        response = await pool.request(request(), timeout_s=_SECOND)

    assert response == Response(429, {b"x-amzn-errortype": b"ThrottlingException", b"content-length": b"2"}, b"no")


async def test_connection_that_says_close_is_not_used_again() -> None:
    async def first(peer: Peer, body: bytes) -> None:
        await peer.send(answer(body, b"Connection: close\r\n"))

    async with serving(once_then_echo(first)) as server, pool_to(server) as pool:
        await pool.request(request(b"one"), timeout_s=_SECOND)
        again = await pool.request(request(b"two"), timeout_s=_SECOND)
        await until(lambda: 1 in server.closed)

    assert again.body == b"two"
    assert server.requests == [(1, b"one"), (2, b"two")]


async def test_connection_unused_for_too_long_is_replaced() -> None:
    async with serving(echo) as server, pool_to(server, keep_alive_s=0.0) as pool:
        for _ in range(3):
            await pool.request(request(), timeout_s=_SECOND)
            await asyncio.sleep(0.001)  # time has to pass for a limit of zero

    assert server.opened == 3


async def test_closing_the_pool_closes_what_is_kept() -> None:
    async with serving(echo) as server:
        async with pool_to(server) as pool:
            await asyncio.gather(*(pool.request(request(), timeout_s=_SECOND) for _ in range(5)))
        await until(lambda: len(server.closed) == server.opened)

    assert server.opened == 5


async def test_pool_opens_no_more_connections_than_its_size() -> None:
    busy, most = 0, 0

    async def serve(peer: Peer) -> None:
        nonlocal busy, most
        while (body := await peer.request()) is not None:
            busy += 1
            most = max(most, busy)
            await asyncio.sleep(0.005)
            busy -= 1
            await peer.send(answer(body))

    async with serving(serve) as server, pool_to(server, size=3) as pool:
        responses = await asyncio.gather(*(pool.request(request(b"%d" % n), timeout_s=5) for n in range(30)))

    assert [response.body for response in responses] == [b"%d" % n for n in range(30)]
    assert server.opened == most == 3


async def test_cancelled_requests_give_their_place_back() -> None:
    async def silent(peer: Peer) -> None:
        while (body := await peer.request()) is not None:
            if body != b"hang":
                await peer.send(answer(body))

    async with serving(silent) as server, pool_to(server, size=2) as pool:
        for _ in range(5):
            hanging = [asyncio.create_task(pool.request(request(b"hang"), timeout_s=60)) for _ in range(4)]
            await until(lambda: len(server.requests) - len(server.closed) >= 2)
            for task in hanging:
                task.cancel()
            await asyncio.wait(hanging)
        response = await pool.request(request(b"after"), timeout_s=_SECOND)

    assert response.body == b"after"


# Stale connections


async def test_connection_closed_while_it_lay_idle_is_replaced_without_an_error() -> None:
    gone = asyncio.Event()

    async def serve(peer: Peer) -> None:
        body = await peer.request()
        await peer.send(answer(body or b""))
        peer.writer.close()
        gone.set()

    async with serving(serve) as server, pool_to(server) as pool:
        await pool.request(request(b"one"), timeout_s=_SECOND)
        await gone.wait()
        again = await pool.request(request(b"two"), timeout_s=_SECOND)

    assert again.body == b"two"


@pytest.mark.parametrize("reset", [False, True])
async def test_connection_closed_upon_its_second_request_is_replaced_without_an_error(reset: bool) -> None:
    """The server's idle limit and our request crossed on the way."""

    async def first(peer: Peer, body: bytes) -> None:
        await peer.send(answer(body))
        await peer.request()
        if reset:
            peer.writer.transport.abort()
        else:
            peer.writer.close()

    async with serving(once_then_echo(first)) as server, pool_to(server) as pool:
        await pool.request(request(b"one"), timeout_s=_SECOND)
        again = await pool.request(request(b"two"), timeout_s=_SECOND)

    assert again.body == b"two"
    assert server.requests == [(1, b"one"), (1, b"two"), (2, b"two")]


async def test_fresh_connection_that_closes_is_an_error() -> None:
    async def serve(peer: Peer) -> None:
        await peer.request()

    async with serving(serve) as server, pool_to(server) as pool:
        with pytest.raises(Unavailable) as caught:
            await pool.request(request(), timeout_s=_SECOND)

    assert caught.value.retry is Retry.TRANSIENT
    assert server.opened == 1


# Whose answer


@pytest.mark.parametrize("after", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\nlate"])
async def test_connection_cancelled_in_its_answer_is_closed(after: bytes) -> None:
    async def first(peer: Peer, body: bytes) -> None:  # noqa: ARG001
        await peer.send(after)
        await peer.request()  # the pool closes

    async with serving(once_then_echo(first)) as server, pool_to(server) as pool:
        task = asyncio.create_task(pool.request(request(b"one"), timeout_s=60))
        await until(lambda: bool(server.requests))
        task.cancel()
        await asyncio.wait([task])
        await until(lambda: 1 in server.closed)
        again = await pool.request(request(b"two"), timeout_s=_SECOND)

    assert task.cancelled()
    assert again.body == b"two"


@pytest.mark.parametrize("seed", range(5))
async def test_late_answer_never_reaches_another_request(seed: int) -> None:
    """Answers come in pieces, late, and a third of the requests is cancelled at any moment."""
    rng = random.Random(seed)

    async def serve(peer: Peer) -> None:
        while (body := await peer.request()) is not None:
            whole = answer(body * 20)
            for at in range(0, len(whole), 40):
                await peer.send(whole[at : at + 40])
                await asyncio.sleep(rng.random() * 0.002)

    async def ask(pool: Pool, marker: bytes) -> bytes:
        return bytes((await pool.request(request(marker), timeout_s=10)).body)

    async with serving(serve) as server, pool_to(server, size=8) as pool:
        tasks = {marker: asyncio.create_task(ask(pool, marker)) for marker in (b"<%04d>" % n for n in range(300))}
        for marker in list(tasks):
            if rng.random() < 0.33:
                asyncio.get_running_loop().call_later(rng.random() * 0.3, tasks[marker].cancel)
        await asyncio.wait(tasks.values())

    answered = {marker: task.result() for marker, task in tasks.items() if not task.cancelled()}
    assert answered == {marker: marker * 20 for marker in answered}
    assert 150 <= len(answered) < 300


@pytest.mark.parametrize(
    "extra",
    [
        b"garbage",
        b"\r\n",
        answer(b"evil"),
        answer(b"evil")[:20],
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nevil",
        b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nevil",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nevil\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
    ids=ascii,
)
async def test_bytes_after_an_answer_reach_no_request(extra: bytes) -> None:
    """They come with the answer's last byte: the connection is not used again."""

    async def first(peer: Peer, body: bytes) -> None:
        await peer.send(answer(body) + extra)

    async with serving(once_then_echo(first)) as server, pool_to(server) as pool:
        one = await pool.request(request(b"one"), timeout_s=_SECOND)
        two = await pool.request(request(b"two"), timeout_s=_SECOND)

    assert [one.body, two.body] == [b"one", b"two"]


async def test_connection_that_speaks_unasked_is_closed() -> None:
    speak = asyncio.Event()

    async def first(peer: Peer, body: bytes) -> None:
        await peer.send(answer(body))
        await speak.wait()
        await peer.send(answer(b"evil"))
        await peer.request()  # the pool closes

    async with serving(once_then_echo(first)) as server, pool_to(server) as pool:
        await pool.request(request(b"one"), timeout_s=_SECOND)
        speak.set()
        await until(lambda: 1 in server.closed)
        two = await pool.request(request(b"two"), timeout_s=_SECOND)

    assert two.body == b"two"


# Shapes of answers


@pytest.mark.parametrize("piece", [1, 7, 1000])
async def test_chunked_answers_are_read_whole(piece: int) -> None:
    whole = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: x\r\n\r\n"
    )

    async def serve(peer: Peer) -> None:
        while await peer.request() is not None:
            for at in range(0, len(whole), piece):
                await peer.send(whole[at : at + piece])
                await asyncio.sleep(0)

    async with serving(serve) as server, pool_to(server) as pool:
        bodies = [(await pool.request(request(), timeout_s=_SECOND)).body for _ in range(3)]

    assert bodies == [b"hello world"] * 3
    assert server.opened == 1


@pytest.mark.parametrize("together", [True, False])
async def test_100_continue_is_not_the_answer(together: bool) -> None:
    async def serve(peer: Peer) -> None:
        while (body := await peer.request()) is not None:
            await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" + (answer(body) if together else b""))
            if not together:
                await asyncio.sleep(0.01)  # two segments
                await peer.send(answer(body))

    async with serving(serve) as server, pool_to(server) as pool:
        responses = [await pool.request(request(b"%d" % n), timeout_s=_SECOND) for n in range(3)]

    assert [(response.status, response.body) for response in responses] == [(200, b"%d" % n) for n in range(3)]
    assert server.opened == 1


@pytest.mark.parametrize("size", [0, 1, 65_536, 300_000, 3_000_000])
@pytest.mark.parametrize("first_piece", [20, 60, 61, 70_000])
async def test_answer_of_any_size_is_read_whole(size: int, first_piece: int) -> None:
    """It comes in two pieces, cut in the head, or in the body; small answers on the same connection follow."""
    body = random.Random(size).randbytes(size)

    async def first(peer: Peer, asked: bytes) -> None:  # noqa: ARG001
        whole = answer(body)
        await peer.send(whole[:first_piece])
        await asyncio.sleep(0.01)  # two segments
        await peer.send(whole[first_piece:])

    async with serving(once_then_echo(first)) as server, pool_to(server) as pool:
        large = await pool.request(request(b"one"), timeout_s=10)
        small = await pool.request(request(b"two"), timeout_s=_SECOND)
        smaller = await pool.request(request(b""), timeout_s=_SECOND)

    assert large.body == body
    assert (small.body, smaller.body) == (b"two", b"")
    assert server.opened == 1


async def test_large_and_small_answers_alternate_on_one_connection() -> None:
    sizes = [200_000, 5, 0, 150_000, 150_000, 1, 400_000]

    async def serve(peer: Peer) -> None:
        while (asked := await peer.request()) is not None:
            whole = answer(b"%d:" % int(asked) + b"x" * int(asked))
            for at in range(0, len(whole), 50_000):
                await peer.send(whole[at : at + 50_000])
                await asyncio.sleep(0.001)

    async with serving(serve) as server, pool_to(server) as pool:
        bodies = [(await pool.request(request(b"%d" % size), timeout_s=10)).body for size in sizes]

    assert bodies == [b"%d:" % size + b"x" * size for size in sizes]
    assert server.opened == 1


@pytest.mark.parametrize("extra", [b"garbage", answer(b"evil"), answer(b"evil" * 100)[:50]], ids=ascii)
async def test_bytes_after_a_large_answer_reach_no_request(extra: bytes) -> None:
    async def first(peer: Peer, body: bytes) -> None:
        whole = answer(body * 100_000)
        await peer.send(whole[:1000])
        await asyncio.sleep(0.01)  # two segments
        await peer.send(whole[1000:] + extra)
        await peer.request()  # the pool closes

    async with serving(once_then_echo(first)) as server, pool_to(server) as pool:
        one = await pool.request(request(b"one"), timeout_s=5)
        await until(lambda: 1 in server.closed)
        two = await pool.request(request(b"two"), timeout_s=_SECOND)

    assert one.body == b"one" * 100_000
    assert two.body == b"two"


async def test_answer_is_never_cut_to_a_limit() -> None:
    """One that is too large may be refused; it is not handed on without its end."""
    body = b"x" * 25_000_000 + b"the end"

    async def serve(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(body))

    async with serving(serve) as server, pool_to(server) as pool:
        try:
            response = await pool.request(request(), timeout_s=20)
        except EmbedrockError:
            return

    assert response.body == body


@pytest.mark.parametrize(
    "broken",
    [
        answer(b"x" * 100)[:-50],
        answer(b"x" * 100)[:-1],
        answer(b"x" * 200_000)[:-1],
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\nhello\r\n",
        b"this is not HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc",
    ],
    ids=lambda sent: ascii(sent[:60]),
)
@pytest.mark.parametrize("kept", [False, True])
async def test_truncated_or_broken_answer_is_an_error_that_may_pass(broken: bytes, kept: bool) -> None:
    """Also on a kept connection: what began to answer is no longer merely stale."""

    async def serve(peer: Peer) -> None:
        if kept:
            await peer.send(answer(await peer.request() or b""))
        await peer.request()
        await peer.send(broken)

    async with serving(serve) as server, pool_to(server) as pool:
        if kept:
            await pool.request(request(), timeout_s=_SECOND)
        with pytest.raises(Unavailable) as caught:
            await pool.request(request(), timeout_s=_SECOND)

    assert caught.value.retry is Retry.TRANSIENT
    assert server.opened == 1


# Time


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"])
async def test_answer_that_takes_too_long_is_a_timeout_and_its_connection_is_closed(before: bytes) -> None:
    async def first(peer: Peer, body: bytes) -> None:  # noqa: ARG001
        await peer.send(before)
        await peer.request()  # the pool closes

    async with serving(once_then_echo(first)) as server, pool_to(server) as pool:
        started = time.monotonic()
        with pytest.raises(UpstreamTimeout):
            await pool.request(request(b"one"), timeout_s=0.1)
        took = time.monotonic() - started
        await until(lambda: 1 in server.closed)
        again = await pool.request(request(b"two"), timeout_s=_SECOND)

    assert 0.09 <= took < 0.5
    assert again.body == b"two"


async def test_waiting_for_a_free_connection_counts_as_time() -> None:
    """Else a request would begin its work after its deadline."""

    async def silent(peer: Peer) -> None:
        while await peer.request() is not None:
            pass

    async with serving(silent) as server, pool_to(server, size=1) as pool:
        hanging = asyncio.create_task(pool.request(request(b"hang"), timeout_s=1.0))
        await until(lambda: bool(server.requests))
        started = time.monotonic()
        with pytest.raises(UpstreamTimeout):
            await pool.request(request(b"late"), timeout_s=0.1)
        took = time.monotonic() - started
        hanging.cancel()
        await asyncio.wait([hanging])

    assert took < 0.5
    assert b"late" not in [body for _, body in server.requests]


async def test_connecting_counts_as_time() -> None:
    """A peer that accepts and then says nothing of TLS may not hold a request beyond its time."""

    async def silent(peer: Peer) -> None:
        await peer.reader.read()

    async with serving(silent) as server:
        pool = Pool("127.0.0.1", server.port, tls=ssl.create_default_context(), connect_timeout_s=1.0)
        started = time.monotonic()
        with pytest.raises((UpstreamTimeout, Unavailable)):
            await pool.request(request(), timeout_s=0.1)
        took = time.monotonic() - started
        pool.close()

    assert took < 0.5


async def test_tls_that_never_answers_is_given_up() -> None:
    async def silent(peer: Peer) -> None:
        await peer.reader.read()

    async with serving(silent) as server:
        pool = Pool("127.0.0.1", server.port, tls=ssl.create_default_context(), connect_timeout_s=0.1)
        with pytest.raises(EmbedrockError) as caught:
            await pool.request(request(), timeout_s=_SECOND)
        pool.close()

    assert caught.value.retry is Retry.TRANSIENT


async def test_refused_connection_is_unavailable() -> None:
    async with serving(echo) as server:
        pass  # stopped again: nobody listens

    pool = Pool("127.0.0.1", server.port, tls=None)
    with pytest.raises(Unavailable) as caught:
        await pool.request(request(), timeout_s=_SECOND)

    assert caught.value.retry is Retry.TRANSIENT


async def test_unknown_host_is_unavailable() -> None:
    pool = Pool("nowhere.invalid", 80, tls=None)

    with pytest.raises(Unavailable):
        await pool.request(request(), timeout_s=_SECOND)


# TLS


def server_context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    return context


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_trusted_certificate_is_spoken_to_and_kept(certificate: tuple[Path, Path], host: str) -> None:
    async with serving(echo, server_context(certificate)) as server:
        pool = Pool(host, server.port, tls=ssl.create_default_context(cafile=certificate[0]))
        bodies = [(await pool.request(request(b"%d" % n), timeout_s=5)).body for n in range(5)]
        pool.close()
        await until(lambda: bool(server.closed))

    assert bodies == [b"%d" % n for n in range(5)]
    assert server.opened == 1


async def test_untrusted_certificate_is_refused_and_not_tried_again(certificate: tuple[Path, Path]) -> None:
    async with serving(echo, server_context(certificate)) as server:
        pool = Pool("127.0.0.1", server.port, tls=ssl.create_default_context())
        with pytest.raises(Unavailable) as caught:
            await pool.request(request(b"secret"), timeout_s=5)
        pool.close()

    assert caught.value.retry is Retry.NEVER
    assert server.requests == []


async def test_certificate_of_another_host_is_refused(certificate: tuple[Path, Path]) -> None:
    async with serving(echo, server_context(certificate)) as server:
        pool = Pool("127.0.0.2", server.port, tls=ssl.create_default_context(cafile=certificate[0]))
        with pytest.raises(Unavailable):
            await pool.request(request(b"secret"), timeout_s=5)
        pool.close()

    assert server.requests == []


async def test_plain_server_where_tls_is_wanted_is_unavailable() -> None:
    async def plain(peer: Peer) -> None:
        await peer.reader.read(100)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    async with serving(plain) as server:
        pool = Pool("127.0.0.1", server.port, tls=ssl.create_default_context())
        with pytest.raises(Unavailable):
            await pool.request(request(b"secret"), timeout_s=5)
        pool.close()
