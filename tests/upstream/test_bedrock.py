"""One call: what refused credentials and slow ones make of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest

from embedrock.errors import UpstreamAuthFailed, UpstreamTimeout
from embedrock.upstream.bedrock import Bedrock
from embedrock.upstream.connection import Response
from embedrock.upstream.credentials import ChainCredentials
from embedrock.upstream.sigv4 import Credentials

OLD = Credentials("AKIAOLD", "secret")
NEW = Credentials("AKIANEW", "secret")


@asynccontextmanager
async def aws(accepted: str) -> AsyncIterator[tuple[str, list[str]]]:
    """Run a Bedrock that takes only the key `accepted`; give its URL and the keys it saw."""
    seen: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(int(head.rpartition(b"content-length: ")[2].split(b"\r\n")[0]))
                seen.append(head.partition(b"Credential=")[2].split(b"/")[0].decode())
                if seen[-1] == accepted:
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                else:
                    refusal = b"HTTP/1.1 403 Forbidden\r\nx-amzn-errortype: ExpiredTokenException:http://x/\r\n"
                    writer.write(refusal + b"content-length: 2\r\n\r\n{}")
        writer.close()
        closed.set()

    closed = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", seen
    server.close()
    if seen:
        await asyncio.wait_for(closed.wait(), 5)


def body_of(response: Response) -> bytes:
    return bytes(response.body)


@pytest.mark.parametrize("at_hand", [True, False])
async def test_refused_credentials_are_replaced_and_the_call_sent_again(at_hand: bool) -> None:
    """Whether they were at hand or had just been fetched."""
    chain = ChainCredentials(lambda anew: NEW if anew else OLD)
    if at_hand:
        await chain.get()

    async with aws(accepted="AKIANEW") as (url, seen):
        with closing(Bedrock("us-east-1", url, credentials=chain)) as bedrock:
            answer = await bedrock.invoke("m", b"{}", body_of, timeout_s=5)

    assert answer == b"{}"
    assert seen == ["AKIAOLD", "AKIANEW"]


async def test_credentials_that_stay_refused_are_the_gateways_fault() -> None:
    async with aws(accepted="nobody") as (url, seen):
        chain = ChainCredentials(lambda anew: NEW if anew else OLD)
        with closing(Bedrock("us-east-1", url, credentials=chain)) as bedrock, pytest.raises(UpstreamAuthFailed):
            await bedrock.invoke("m", b"{}", body_of, timeout_s=5)

    assert seen == ["AKIAOLD", "AKIANEW"]


async def test_slow_credentials_count_towards_the_time() -> None:
    class Slow(ChainCredentials):
        async def get(self) -> Credentials:
            await asyncio.Event().wait()
            raise AssertionError

    async with aws(accepted="AKIANEW") as (url, seen):
        slow = Slow(lambda _: NEW)
        with closing(Bedrock("us-east-1", url, credentials=slow)) as bedrock, pytest.raises(UpstreamTimeout):
            await asyncio.wait_for(bedrock.invoke("m", b"{}", body_of, timeout_s=0.05), 5)

    assert seen == []
