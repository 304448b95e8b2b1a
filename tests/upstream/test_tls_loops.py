"""TLS on asyncio's own event loop and on uvloop, which read it in different ways; the SDK and Windows use the first."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest
import uvloop

from embedrock.errors import InvalidUpstream
from embedrock.upstream.connection import Pool, Response

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]
REQUEST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi"


def exchange(
    loop: Callable[[], asyncio.AbstractEventLoop], certificate: tuple[Path, Path], answer: bytes, times: int
) -> list[Response]:
    """Return what a pool reads from a TLS server that answers each request with `answer`."""
    cert, key = map(str, certificate)
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_tls.load_cert_chain(cert, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(answer)
        writer.close()

    async def run() -> list[Response]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_tls)
        pool = Pool("127.0.0.1", server.sockets[0].getsockname()[1], tls=ssl.create_default_context(cafile=cert))
        try:
            return [await pool.request(REQUEST, timeout_s=10) for _ in range(times)]
        finally:
            pool.close()
            server.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(run())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("size", [100, 12_000, 25_000, 65_536, 200_000, 1_200_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_answer_of_any_size_is_read_to_the_byte(
    loop: Callable[[], asyncio.AbstractEventLoop], certificate: tuple[Path, Path], size: int, chunked: bool
) -> None:
    body = Random(size).randbytes(size)
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n" % size
    answer = (
        head + body + b"\r\n0\r\n\r\n" if chunked else b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + body
    )

    responses = exchange(loop, certificate, answer, 3)

    assert [(r.status, len(r.body), sha256(r.body).digest()) for r in responses] == [
        (200, size, sha256(body).digest())
    ] * 3


@pytest.mark.parametrize("loop", LOOPS)
def test_answer_without_an_end_is_refused_before_memory_is(
    loop: Callable[[], asyncio.AbstractEventLoop], certificate: tuple[Path, Path]
) -> None:
    size = 26_000_000
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n" % size + bytes(size)

    with pytest.raises(InvalidUpstream, match="larger"):
        exchange(loop, certificate, answer, 1)
