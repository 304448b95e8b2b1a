"""One call: what goes over the wire, signed as by botocore, and what refused and slow credentials make of it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import NamedTuple
from unittest import mock

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

from embedrock.errors import ModelAccessDenied, UpstreamAuthFailed, UpstreamTimeout
from embedrock.upstream.bedrock import Bedrock, Headers
from embedrock.upstream.connection import Response
from embedrock.upstream.credentials import ChainCredentials, FixedCredentials
from embedrock.upstream.sigv4 import Credentials

OLD = Credentials("AKIAOLD", "secret")
NEW = Credentials("AKIANEW", "secret")


class Call(NamedTuple):
    """A request as it came over the wire; header names are in lower case."""

    path: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def key(self) -> str:
        return dict(self.headers)["authorization"].partition("Credential=")[2].split("/")[0]


@asynccontextmanager
async def aws(accepted: str | None = None, status: str = "200 OK") -> AsyncIterator[tuple[str, list[Call]]]:
    """Run a Bedrock that takes only the key `accepted`, if one is named; give its URL and the calls it saw."""
    seen: list[Call] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().rstrip("\r\n").split("\r\n")
                headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
                body = await reader.readexactly(int(dict(headers)["content-length"]))
                seen.append(Call(first.split(" ")[1], headers, body))
                if accepted is None or seen[-1].key == accepted:
                    writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}".encode())
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


# ---------------------------------------------------------------- what goes over the wire

NOON = 1_767_268_800  # 2026-01-01T12:00:00Z
TEMPORARY = Credentials("AKIATEMP", "secret", "token")
PLAIN = ["host", "accept", "content-type", "user-agent", "x-amz-date", "authorization", "content-length"]
GUARDED: Headers = (
    ("x-amzn-bedrock-guardrailidentifier", "abc123"),
    ("x-amzn-bedrock-guardrailversion", "DRAFT"),
    ("x-amzn-bedrock-performanceconfig-latency", "optimized"),
    ("x-amzn-bedrock-service-tier", "flex"),
    ("x-amzn-bedrock-trace", "ENABLED"),
)


def signed_by_botocore(call: Call, credentials: Credentials, *more: str) -> str:
    """Return the `Authorization` that botocore gives a call, when it signs the usual headers and `more`."""
    sent = dict(call.headers)
    headers = {name: sent[name] for name in ("accept", "content-type", *more)}
    request = botocore.awsrequest.AWSRequest("POST", f"http://{sent['host']}{call.path}", headers, call.body)
    keys = botocore.credentials.Credentials(credentials.access_key, credentials.secret_key, credentials.token)
    now = datetime.datetime.fromtimestamp(NOON, datetime.UTC)
    with mock.patch("botocore.auth.get_current_datetime", return_value=now):
        botocore.auth.SigV4Auth(keys, "bedrock", "us-east-1").add_auth(request)
    return str(request.headers["Authorization"])


def bedrock_at(url: str, credentials: Credentials = NEW) -> Bedrock:
    return Bedrock("us-east-1", url, credentials=FixedCredentials(credentials), clock=lambda: NOON)


@pytest.mark.parametrize("credentials", [NEW, TEMPORARY], ids=["keys", "token"])
@pytest.mark.parametrize("headers", [(), GUARDED, GUARDED[-1:]], ids=["none", "five", "one"])
async def test_callers_headers_are_sent_and_signed(headers: Headers, credentials: Credentials) -> None:
    async with aws() as (url, seen):
        with closing(bedrock_at(url, credentials)) as bedrock:
            await bedrock.invoke("amazon.titan-embed-text-v2:0", b"{}", body_of, headers=headers, timeout_s=5)

    (call,) = seen
    token = ["x-amz-security-token"] if credentials.token else []
    assert call.path == "/model/amazon.titan-embed-text-v2%3A0/invoke"
    assert [pair for pair in call.headers if pair[0].startswith("x-amzn-")] == list(headers)
    assert sorted(name for name, _ in call.headers) == sorted([*PLAIN, *token, *(name for name, _ in headers)])
    assert dict(call.headers)["authorization"] == signed_by_botocore(call, credentials, *dict(headers))


async def test_headers_of_one_call_are_not_sent_with_the_next() -> None:
    async with aws() as (url, seen):
        with closing(bedrock_at(url)) as bedrock:
            for headers in (GUARDED, (), GUARDED[:2], ()):
                await bedrock.invoke("m", b"{}", body_of, headers=headers, timeout_s=5)

    assert [sum(name.startswith("x-amzn-") for name, _ in call.headers) for call in seen] == [5, 0, 2, 0]


@pytest.mark.parametrize("size", [499_998, 500_000, 500_001])
async def test_large_body_is_signed_too(size: int) -> None:
    """A thread hashes what would hold up others."""
    async with aws() as (url, seen):
        with closing(bedrock_at(url)) as bedrock:
            await bedrock.invoke("m", b'"%b"' % (b"x" * (size - 2)), body_of, timeout_s=5)

    (call,) = seen
    assert len(call.body) == size
    assert dict(call.headers)["authorization"] == signed_by_botocore(call, NEW)


async def test_bearer_key_is_sent_in_place_of_a_signature() -> None:
    async with aws() as (url, seen):
        with closing(Bedrock("us-east-1", url, credentials=None, bearer="ABSK1")) as bedrock:
            await bedrock.invoke("m", b"{}", body_of, headers=GUARDED, timeout_s=5)
            await bedrock.post("/guardrail/abc/version/1/apply", b"{}", body_of, timeout_s=5)

    assert [dict(call.headers)["authorization"] for call in seen] == ["Bearer ABSK1"] * 2
    assert [pair for pair in seen[0].headers if pair[0].startswith("x-amz")] == list(GUARDED)


async def test_another_path_is_posted_to_as_it_is_and_signed() -> None:
    path = "/guardrail/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aguardrail%2Fabc/version/DRAFT/apply"
    async with aws() as (url, seen):
        with closing(bedrock_at(url, TEMPORARY)) as bedrock:
            answer = await bedrock.post(path, b'{"source":"INPUT"}', body_of, timeout_s=5)

    (call,) = seen
    assert answer == b"{}"
    assert (call.path, call.body) == (path, b'{"source":"INPUT"}')
    assert dict(call.headers)["authorization"] == signed_by_botocore(call, TEMPORARY)


async def test_paths_lie_below_that_of_the_endpoint() -> None:
    async with aws() as (url, seen):
        with closing(bedrock_at(f"{url}/proxy/")) as bedrock:
            await bedrock.invoke("m", b"{}", body_of, timeout_s=5)
            await bedrock.post("/guardrail/abc/version/1/apply", b"{}", body_of, timeout_s=5)

    assert [call.path for call in seen] == ["/proxy/model/m/invoke", "/proxy/guardrail/abc/version/1/apply"]
    assert all(dict(call.headers)["authorization"] == signed_by_botocore(call, NEW) for call in seen)


async def test_refusal_of_another_path_is_told_as_one_of_a_model() -> None:
    refused = "403 Forbidden\r\nx-amzn-errortype: AccessDeniedException:http://x/"
    async with aws(status=refused) as (url, seen):
        with closing(bedrock_at(url)) as bedrock, pytest.raises(ModelAccessDenied):
            await bedrock.post("/guardrail/abc/version/1/apply", b"{}", body_of, timeout_s=5)

    assert len(seen) == 1


# ---------------------------------------------------------------- credentials


@pytest.mark.parametrize("at_hand", [True, False])
@pytest.mark.parametrize("posted", [False, True])
async def test_refused_credentials_are_replaced_and_the_call_sent_again(at_hand: bool, posted: bool) -> None:
    """Whether they were at hand or had just been fetched."""
    chain = ChainCredentials(lambda anew: NEW if anew else OLD)
    if at_hand:
        await chain.get()

    async with aws(accepted="AKIANEW") as (url, seen):
        with closing(Bedrock("us-east-1", url, credentials=chain)) as bedrock:
            if posted:
                answer = await bedrock.post("/p", b"{}", body_of, timeout_s=5)
            else:
                answer = await bedrock.invoke("m", b"{}", body_of, headers=GUARDED, timeout_s=5)

    assert answer == b"{}"
    assert [call.key for call in seen] == ["AKIAOLD", "AKIANEW"]


async def test_credentials_that_stay_refused_are_the_gateways_fault() -> None:
    async with aws(accepted="nobody") as (url, seen):
        chain = ChainCredentials(lambda anew: NEW if anew else OLD)
        with closing(Bedrock("us-east-1", url, credentials=chain)) as bedrock, pytest.raises(UpstreamAuthFailed):
            await bedrock.invoke("m", b"{}", body_of, timeout_s=5)

    assert [call.key for call in seen] == ["AKIAOLD", "AKIANEW"]


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
