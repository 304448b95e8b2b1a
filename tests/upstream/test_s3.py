"""Our S3 client: against botocore's own requests, and against the emulator's S3, into which boto3 looks too."""

from __future__ import annotations

import asyncio
import datetime
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedrock.errors import (
    BadRequest,
    EmbedrockError,
    InvalidUpstream,
    S3AccessDenied,
    S3Changed,
    S3NotFound,
    Unavailable,
    UpstreamAuthFailed,
)
from embedrock.service.lanes import in_lanes
from embedrock.service.retry import next_wait
from embedrock.upstream import s3_answers
from embedrock.upstream.connection import Response
from embedrock.upstream.credentials import FixedCredentials
from embedrock.upstream.s3 import PIECE_BYTES, S3
from embedrock.upstream.sigv4 import Credentials

if TYPE_CHECKING:
    from tests.conftest import Emulator

KEYS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
MIDNIGHT = 1_767_225_600.0
PLACE = "s3://media"
ODD_KEYS = st.one_of(
    st.text("abAZ09-._~/ !\"$%&'()*+,:;=?@[\\]^`{|}é€𝄞", min_size=1, max_size=40),
    st.sampled_from(["a b", "a+b", "a%2Fb", "~", "./..//x", "a//b", "?versionId=1", "#x", "folder/"]),
).filter(lambda key: not key.startswith("/"))


def client(url: str | None = None, *, region: str = "us-east-1", keys: Credentials = KEYS, **options: Any) -> S3:
    def soon(error: EmbedrockError, attempt: int) -> float | None:
        return next_wait(error, attempt, lambda: 0.0)

    return S3(region, url, credentials=FixedCredentials(keys), next_wait=soon, **options)


# ------------------------------------------------------------------------------------------------ by botocore's word


class Sent(NamedTuple):
    """A request as it goes over the wire."""

    method: str
    host: str
    target: str
    headers: dict[str, str]


def ours(s3: S3, method: str, uri: str, **query: str) -> Sent:
    credentials = s3.credentials.fresh()
    assert credentials
    request, _ = s3._signed(method, uri, b"", "0" * 64, {}, query, credentials)
    lines = request.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:] if line)
    method, target, _ = lines[0].split(" ")
    return Sent(method, headers["host"], target, headers)


def botocores(url: str | None, call: Callable[[Any], object], *, region: str = "us-east-1") -> str:
    """Return the URL of what botocore would send."""
    s3 = boto3.session.Session(KEYS.access_key, KEYS.secret_key, region_name=region).client(
        "s3", endpoint_url=url, config=botocore.config.Config(retries={"max_attempts": 0})
    )
    sent: list[str] = []

    def stop(request: Any, **_: Any) -> None:
        sent.append(request.url)
        raise InterruptedError

    s3.meta.events.register("before-send.s3", stop)
    with pytest.raises(InterruptedError):
        call(s3)
    s3.close()
    return sent[0]


@pytest.mark.parametrize(
    ("url", "bucket", "key", "region"),
    [
        (None, "media", "folder/clip.mp4", "us-east-2"),
        (None, "media", "a b/+~*'()!é%2F=&;k?v#x@:,$[]", "eu-central-1"),
        (None, "me.dia", "clip.mp4", "eu-central-1"),
        ("http://127.0.0.1:4570", "media", "folder/clip.mp4", "us-east-1"),
        ("http://localhost:4570/", "media", "a b/+~*'()!é%2F=&;k", "us-east-1"),
    ],
)
def test_address_of_an_object_is_botocores(url: str | None, bucket: str, key: str, region: str) -> None:
    """A host of its own at AWS, unless its name has dots; the first segment of the path elsewhere."""
    s3 = client(url, region=region)

    sent = ours(s3, "GET", f"s3://{bucket}/{key}")

    scheme = "http" if url else "https"
    expected = botocores(url, lambda botos: botos.get_object(Bucket=bucket, Key=key), region=region)
    assert f"{scheme}://{sent.host}{sent.target}" == expected


@given(
    method=st.sampled_from(["GET", "PUT", "HEAD", "POST", "DELETE"]),
    key=ODD_KEYS,
    query=st.dictionaries(st.sampled_from(["prefix", "uploads", "partNumber", "uploadId", "list-type"]), ODD_KEYS),
    account=st.sampled_from([None, "123456789012"]),
    token=st.sampled_from([None, "token+/=="]),
    url=st.sampled_from([None, "http://127.0.0.1:4570"]),
)
def test_signature_is_botocores(
    method: str, key: str, query: dict[str, str], account: str | None, token: str | None, url: str | None
) -> None:
    keys = Credentials(KEYS.access_key, KEYS.secret_key, token, account)
    s3 = client(url, keys=keys, clock=lambda: MIDNIGHT)

    sent = ours(s3, method, f"s3://media/{key}", **query)

    signed = sent.headers.keys() & {"x-amz-content-sha256", "x-amz-expected-bucket-owner"}
    request = botocore.awsrequest.AWSRequest(
        method,
        f"{'http' if url else 'https'}://{sent.host}{sent.target}",
        {name: sent.headers[name] for name in signed},
    )
    signer = botocore.auth.S3SigV4Auth(
        botocore.credentials.Credentials(keys.access_key, keys.secret_key, keys.token), "s3", "us-east-1"
    )
    now = datetime.datetime.fromtimestamp(MIDNIGHT, datetime.UTC)
    with (
        mock.patch("botocore.auth.get_current_datetime", return_value=now),
        mock.patch.object(signer, "payload", return_value="0" * 64),
    ):
        signer.add_auth(request)
    assert sent.headers["authorization"] == request.headers["Authorization"]
    assert ("x-amz-expected-bucket-owner" in sent.headers) == (account is not None)


def test_endpoints_of_fips_and_dual_stack_are_awss() -> None:
    s3 = client(region="us-east-2", fips=True, dual_stack=True)

    assert ours(s3, "GET", "s3://media/a").host == "media.s3-fips.dualstack.us-east-2.amazonaws.com"


# ---------------------------------------------------------------------------------------------- against the emulator


@pytest.fixture
async def s3(emulator: Emulator, media_bucket: Any) -> AsyncIterator[S3]:
    found = client(emulator.url)
    try:
        yield found
        there = [listed.uri async for listed in found.objects(f"{PLACE}/")]
        await in_lanes(there, 16, found.delete)
        assert "Contents" not in media_bucket.list_objects_v2(Bucket=PLACE.removeprefix("s3://"))
    finally:
        found.close()


async def pieces(data: bytes, size: int = 1_000_003) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def joined(coming: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in coming])


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES, 20_000_000])
async def test_object_comes_back_as_it_was_put(s3: S3, media_bucket: Any, size: int) -> None:
    data = random.Random(size).randbytes(size)
    uri = f"{PLACE}/{size}.mp4"

    await s3.put(uri, pieces(data), mime="video/mp4")

    assert media_bucket.get_object(Bucket=PLACE[5:], Key=f"{size}.mp4")["Body"].read() == data
    head = await s3.head(uri)
    assert (head.size, head.mime) == (size, "video/mp4")
    assert await joined(s3.get(uri, etag=head.etag)) == data
    assert [piece async for piece in s3.uploads(f"{PLACE}/")] == []


async def test_object_is_read_in_pieces_and_in_part(s3: S3) -> None:
    data = random.Random(1).randbytes(PIECE_BYTES + 1000)
    await s3.put(f"{PLACE}/a", pieces(data))

    assert [len(piece) async for piece in s3.get(f"{PLACE}/a")] == [PIECE_BYTES, 1000]
    assert await joined(s3.get(f"{PLACE}/a", first=10, last=19)) == data[10:20]
    assert await joined(s3.get(f"{PLACE}/a", first=PIECE_BYTES + 990, last=PIECE_BYTES * 2)) == data[-10:]
    assert await joined(s3.get(f"{PLACE}/a", first=PIECE_BYTES * 2)) == b""


@pytest.mark.parametrize("key", ["a b", "+~*'()!", "é/%2F/%41", "x=&y;?#v", '@:,$[]{}|^`"<>\\', "a//b", "folder/"])
async def test_odd_keys_name_the_same_object_to_boto3(s3: S3, media_bucket: Any, key: str) -> None:
    await s3.put(f"{PLACE}/{key}", pieces(key.encode()))

    assert media_bucket.get_object(Bucket=PLACE[5:], Key=key)["Body"].read() == key.encode()
    assert await joined(s3.get(f"{PLACE}/{key}")) == key.encode()
    assert [listed.uri async for listed in s3.objects(f"{PLACE}/{key}")] == [f"{PLACE}/{key}"]


async def test_write_that_fails_leaves_nothing(s3: S3) -> None:
    class Broken(Exception):
        pass

    async def broken() -> AsyncIterator[bytes]:
        yield bytes(2 * PIECE_BYTES)
        assert [listed.uri async for listed in s3.uploads(f"{PLACE}/")] == [f"{PLACE}/broken"]
        raise Broken

    with pytest.raises(Broken):
        await s3.put(f"{PLACE}/broken", broken())

    assert [listed async for listed in s3.uploads(f"{PLACE}/")] == []
    assert [listed async for listed in s3.objects(f"{PLACE}/")] == []


async def test_write_that_is_cancelled_leaves_nothing(s3: S3) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield bytes(PIECE_BYTES + 1)
        begun.set()
        await asyncio.Event().wait()

    writing = asyncio.create_task(s3.put(f"{PLACE}/endless", endless()))
    await begun.wait()
    assert [listed.uri async for listed in s3.uploads(f"{PLACE}/")] == [f"{PLACE}/endless"]
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing

    assert [listed async for listed in s3.uploads(f"{PLACE}/")] == []


async def test_listing_goes_over_pages(s3: S3) -> None:
    await in_lanes(range(1003), 16, lambda number: s3.put(f"{PLACE}/many/{number:04}", pieces(b"x")))

    found = [listed async for listed in s3.objects(f"{PLACE}/many/")]

    assert [listed.uri for listed in found] == [f"{PLACE}/many/{number:04}" for number in range(1003)]
    assert {listed.size for listed in found} == {1}
    assert all(abs(listed.since - datetime.datetime.now(datetime.UTC).timestamp()) < 3600 for listed in found)


async def test_object_that_changes_meanwhile_is_not_mixed(s3: S3, media_bucket: Any) -> None:
    await s3.put(f"{PLACE}/a", pieces(bytes(PIECE_BYTES + 1)))
    coming = s3.get(f"{PLACE}/a")
    await anext(coming)
    media_bucket.put_object(Bucket=PLACE[5:], Key="a", Body=b"\1" * (PIECE_BYTES + 1))

    with pytest.raises(S3Changed):
        await anext(coming)


@pytest.mark.parametrize("uri", [f"{PLACE}/none", "s3://embedrock-no-such-bucket/none"])
async def test_object_that_is_not_there_is_told(s3: S3, uri: str) -> None:
    with pytest.raises(S3NotFound) as of_head:
        await s3.head(uri)
    with pytest.raises(S3NotFound) as of_get:
        await joined(s3.get(uri))

    words = "no such object" if uri.startswith(PLACE) else "no such bucket"
    assert words in of_head.value.message and words in of_get.value.message
    await s3.delete(f"{PLACE}/none")


async def test_connection_is_kept_after_head(s3: S3) -> None:
    """An answer to HEAD announces a body that does not come."""
    await s3.put(f"{PLACE}/a", pieces(b"12345"))

    for _ in range(3):
        assert (await s3.head(f"{PLACE}/a")).size == 5
        assert await joined(s3.get(f"{PLACE}/a")) == b"12345"

    assert [len(pool._idle) for pool in s3._pools.values()] == [1]


# ------------------------------------------------------------------------------------------------- what answers mean


def answer(status: int, code: str = "", **headers: str) -> Response:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>arn:aws:secret</Message></Error>" if code else ""
    names = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return Response(status, names, body.encode())


@pytest.mark.parametrize(
    ("response", "error", "code"),
    [
        (answer(301, "PermanentRedirect", x_amz_bucket_region="eu-west-1"), BadRequest, "s3_region_mismatch"),
        (answer(400, x_amz_bucket_region="eu-west-1"), BadRequest, "s3_region_mismatch"),
        (answer(400, "AuthorizationHeaderMalformed"), BadRequest, "s3_region_mismatch"),
        (answer(403, "AccessDenied"), S3AccessDenied, "s3_access_denied"),
        (answer(400, "KMS.DisabledException"), S3AccessDenied, "s3_access_denied"),
        (answer(403, "InvalidObjectState"), BadRequest, "s3_object_archived"),
        (answer(403, "SignatureDoesNotMatch"), UpstreamAuthFailed, "upstream_auth_failed"),
        (answer(400, "ExpiredToken"), UpstreamAuthFailed, "upstream_auth_failed"),
        (answer(404, "NoSuchKey"), S3NotFound, "s3_object_not_found"),
        (answer(404, "NoSuchBucket"), S3NotFound, "s3_object_not_found"),
        (answer(404), S3NotFound, "s3_object_not_found"),
        (answer(412, "PreconditionFailed"), S3Changed, "s3_object_changed"),
        (answer(400, "InvalidArgument"), BadRequest, "s3_refused"),
        (answer(200, "AccessDenied"), S3AccessDenied, "s3_access_denied"),
    ],
)
def test_refusal_has_its_error_and_no_text_of_awss(response: Response, error: type[EmbedrockError], code: str) -> None:
    with pytest.raises(error) as raised:
        s3_answers.check(response, "us-east-1")

    assert raised.value.code == code
    assert "secret" not in raised.value.message


def test_region_of_a_bucket_elsewhere_is_told() -> None:
    with pytest.raises(BadRequest, match=r"in eu-west-1; it must be in us-east-1"):
        s3_answers.check(answer(301, x_amz_bucket_region="eu-west-1"), "us-east-1")


@pytest.mark.parametrize(
    "response",
    [answer(503, "SlowDown"), answer(500), answer(429), answer(400, "RequestTimeout"), answer(200, "InternalError")],
)
def test_what_may_pass_is_told_from_what_does_not(response: Response) -> None:
    with pytest.raises(Unavailable):
        s3_answers.check_passing(response)
    s3_answers.check_passing(answer(403, "AccessDenied"))


def test_answer_that_is_no_xml_is_an_error() -> None:
    with pytest.raises(InvalidUpstream):
        s3_answers.read(b"<html><br>")


@contextmanager
def answering(s3: S3, *answers: Response) -> Iterator[list[bytes]]:
    """Let `s3` get these answers, in turn; yields the heads of what it sent."""
    waiting = iter(answers)
    sent: list[bytes] = []

    class Pool:
        async def request(self, request: bytes, *, timeout_s: float) -> Response:
            assert timeout_s > 0
            sent.append(request.split(b"\r\n")[0])
            return next(waiting)

        def close(self) -> None: ...

    with mock.patch.object(s3, "_pool", lambda _: Pool()):
        yield sent
    assert next(waiting, None) is None


async def test_request_that_s3_could_not_do_is_sent_again_twice() -> None:
    s3 = client()

    with answering(s3, answer(503, "SlowDown"), answer(500), Response(204, {}, b"")):
        await s3.delete("s3://media/a")
    with answering(s3, *[answer(503, "SlowDown")] * 3), pytest.raises(Unavailable):
        await s3.delete("s3://media/a")


BEGUN = Response(200, {}, b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>")
PART = Response(200, {b"etag": b'"e"'}, b"")
ENDED = Response(200, {}, b"<CompleteMultipartUploadResult/>")


async def test_end_of_an_upload_that_fails_with_status_200_is_tried_again() -> None:
    s3 = client()

    with answering(s3, BEGUN, PART, PART, answer(200, "InternalError"), ENDED) as sent:
        await s3.put("s3://media/a", pieces(bytes(PIECE_BYTES + 1)))

    assert [line.split(b" ")[0] for line in sent] == [b"POST", b"PUT", b"PUT", b"POST", b"POST"]


async def test_end_of_an_upload_whose_answer_was_lost_is_found_out() -> None:
    s3 = client()
    there = Response(200, {b"content-length": str(PIECE_BYTES + 1).encode(), b"etag": b'"e"'}, b"")

    with answering(s3, BEGUN, PART, PART, answer(500), answer(404, "NoSuchUpload"), there):
        await s3.put("s3://media/a", pieces(bytes(PIECE_BYTES + 1)))


async def test_refused_credentials_are_replaced_once() -> None:
    class Source(FixedCredentials):
        async def replace(self, refused: Credentials) -> Credentials:
            assert refused == KEYS
            return Credentials("OTHER", "keys")

    s3 = client()
    s3.credentials = Source(KEYS)

    with answering(s3, answer(400, "ExpiredToken"), Response(204, {}, b"")):
        await s3.delete("s3://media/a")
    with answering(s3, answer(400, "ExpiredToken"), answer(400, "ExpiredToken")), pytest.raises(UpstreamAuthFailed):
        await s3.delete("s3://media/a")
