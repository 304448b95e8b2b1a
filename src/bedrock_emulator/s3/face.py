"""The HTTP face of S3: which requests are for it, checks that all operations share, the journal."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl
from uuid import uuid4

from .. import sigv4
from ..errors import AwsError
from ..manage import Controls
from ..response import Response, Struck, unanswered
from ..transport import ARRIVED, Connection, Receive, Scope, Send
from . import buckets, objects, uploads
from .ask import UNKNOWN, XML, Ask, operation, split
from .errors import S3Error, of_signature, wrong_region
from .incoming import ClientGone
from .store import Store

_CREDENTIAL = re.compile(r"(?:Credential=)?([^/\s,=]+)/\d{8}/([a-z0-9-]+)/s3/aws4_request")
_WITHOUT_BUCKET = ("ListBuckets", "CreateBucket", UNKNOWN)
_HANDLERS: Mapping[str, Callable[[Ask], Awaitable[Response]]] = {
    "ListBuckets": buckets.list_buckets,
    "CreateBucket": buckets.create,
    "HeadBucket": buckets.head,
    "DeleteBucket": buckets.delete,
    "GetBucketLocation": buckets.location,
    "ListObjectsV2": buckets.list_objects_v2,
    "ListObjects": buckets.list_objects,
    "DeleteObjects": objects.delete_many,
    "GetObject": objects.get,
    "HeadObject": objects.head,
    "PutObject": objects.put,
    "CopyObject": objects.copy,
    "DeleteObject": objects.delete,
    "CreateMultipartUpload": uploads.create,
    "UploadPart": uploads.put_part,
    "ListParts": uploads.list_parts,
    "CompleteMultipartUpload": uploads.complete,
    "AbortMultipartUpload": uploads.abort,
    "ListMultipartUploads": uploads.list_uploads,
}


def is_meant(scope: Scope) -> bool:
    """Tell whether a request is for S3: it is signed for it, in a header or in the query of a URL."""
    signed = dict(scope["headers"]).get(b"authorization", b"")
    return b"/s3/aws4_request" in signed or (not signed and b"%2fs3%2faws4_request" in scope["query_string"].lower())


class S3:
    """The app for requests that are for S3."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        self._in_flight += 1
        connection = Connection(scope, receive, send)
        try:
            response = await self._journalled(scope, receive)
            if response.deliver:
                await response.deliver(response, connection)
        finally:
            self._in_flight -= 1
        if not response.deliver:
            await connection.send(response.status, response.headers, response.body)

    async def _journalled(self, scope: Scope, receive: Receive) -> Response:
        """Return the answer to a request. It is in the journal then; what is streamed has no hash of the answer."""
        started, concurrency = scope[ARRIVED], self._in_flight
        at = time.time() - (time.perf_counter() - started)
        ask = _read(scope, receive, self._controls.s3)
        request_id = uuid4().hex[:16].upper()
        resource = f"/{ask.bucket_name}/{ask.key}"
        try:
            self._check(ask, scope)
            response = await self._answer(ask)
        except S3Error as error:
            bodiless = scope["method"] == "HEAD" or error.status == 304
            body = b"" if bodiless else error.body(resource, request_id)
            response = Response(error.status, body, [XML, *error.headers])
        except ClientGone:
            response = unanswered(_nothing)
        self._controls.journal.add(
            at=at,
            op=ask.op,
            model=None,
            object=f"s3:/{resource}" if ask.bucket_name else None,
            region=ask.region,
            status=response.status or None,
            request_body=ask.body.head if ask.body else b"",
            request_sha256=ask.body.sha256 if ask.body else None,
            response_body=response.body if response.status and not response.deliver else None,
            tokens=None,
            items=None,
            concurrency=concurrency,
            headers=scope["headers"],
            fault=ask.fault,
            took_ms=(time.perf_counter() - started) * 1000,
        )
        response.headers[:0] = [(b"x-amz-request-id", request_id.encode()), (b"x-amz-id-2", request_id.encode())]
        if not ask.body and "expect" in ask.headers:  # whether its body comes all the same is the caller's choice
            response.headers.append((b"connection", b"close"))
        return response

    async def _answer(self, ask: Ask) -> Response:
        async def answer(_: bytes = b"") -> Response:
            return await _HANDLERS[ask.op](ask)

        fault = self._controls.faults.pick(ask.names, s3=True)
        if fault is None:
            return await answer()
        ask.fault = fault.NAME
        return await fault.strike(Struck(ask.op, None, ask.region, b"", answer))

    def _check(self, ask: Ask, scope: Scope) -> None:
        """Raise S3Error for what is refused whatever the operation."""
        _check_expiry(ask.query)
        if self._controls.keys:
            request = sigv4.Request(scope["method"], scope["raw_path"], scope["query_string"], scope["headers"], b"")
            try:
                sigv4.verify(request, self._controls.keys, now=datetime.now(UTC), service="s3")
            except AwsError as error:
                raise of_signature(error) from None
        if ask.op == UNKNOWN:
            raise S3Error("NotImplemented")
        if ask.op in _WITHOUT_BUCKET:
            return
        region = ask.bucket.region or ask.region
        if region != ask.region:
            raise wrong_region(ask.region, region, ask.bucket_name)
        for name, bucket_name in _expected_owners(ask).items():
            bucket = ask.store.buckets.get(bucket_name)
            if name in ask.headers and bucket and ask.headers[name] != bucket.owner:
                raise S3Error("AccessDenied")


def _read(scope: Scope, receive: Receive, store: Store) -> Ask:
    query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    bucket, key = split(scope["raw_path"].decode("latin-1"))
    match = _CREDENTIAL.search(headers.get("authorization") or query.get("X-Amz-Credential", ""))
    account, region = match.groups() if match else ("unknown", "us-east-1")
    return Ask(
        op=operation(scope["method"], bucket, key, query, headers),
        bucket_name=bucket,
        key=key,
        query=query,
        headers=headers,
        region=region,
        account=account,
        store=store,
        wire=receive,
    )


def _expected_owners(ask: Ask) -> dict[str, str]:
    """Return the headers in which a caller may say whose bucket it means, with the bucket."""
    source = ask.headers.get("x-amz-copy-source", "").removeprefix("/").partition("/")[0]
    return {"x-amz-expected-bucket-owner": ask.bucket_name, "x-amz-source-expected-bucket-owner": source}


def _check_expiry(query: Mapping[str, str]) -> None:
    """Raise S3Error for a signed URL whose time is over."""
    if "X-Amz-Expires" not in query:
        return
    try:
        signed = datetime.strptime(query.get("X-Amz-Date", ""), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        until = signed + timedelta(seconds=int(query["X-Amz-Expires"]))
    except (ValueError, OverflowError):
        raise S3Error("AuthorizationQueryParametersError") from None
    if datetime.now(UTC) > until:
        raise S3Error("AccessDenied", message="Request has expired")


async def _nothing(_: Response, connection: Connection) -> None:
    """Leave it at that: the caller is gone."""
