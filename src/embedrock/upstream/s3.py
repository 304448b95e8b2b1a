"""Objects in the buckets of one region, over the same connections and signer as Bedrock's calls.

Nothing is ever held whole: an object is read in ranges, each of the version that the first one saw, and written in
parts, so a piece of 8 MiB is the most there is in memory. A failed write leaves nothing behind, no parts either.

A bucket is a host name of its own at AWS, and the first segment of the path at any other endpoint. S3 is told which
account has to own the bucket wherever the credentials say whose they are: bucket names can be taken by anybody.

Source: Amazon S3 API Reference; checked against botocore's own requests, and boto3, in the tests.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from embedrock.errors import EmbedrockError, InvalidUpstream, S3NotFound
from embedrock.upstream import s3_answers
from embedrock.upstream.connection import Pool, Response
from embedrock.upstream.credentials import CredentialSource
from embedrock.upstream.sigv4 import Credentials, RequestSigner

#: What is read or written at once. S3 takes parts from 5 MiB on, and 10,000 of them: 80 GiB, more than any model reads.
PIECE_BYTES: Final = 8 * 1024 * 1024
_HASHED_HERE_BYTES: Final = 500_000  # a larger body is hashed in a thread, which lets others run meanwhile
_ATTEMPT_S: Final = 30.0
_CLEAN_UP_S: Final = 10.0
_POOLS_KEPT: Final = 64  # hosts of buckets with connections


class Head(NamedTuple):
    """What S3 tells of an object without sending it."""

    size: int
    etag: str  # of this version, as S3 quotes it
    mime: str
    owner: str | None = None  # the account that has been checked to own the bucket


class Listed(NamedTuple):
    """An object, or an upload of one that has not ended (`upload` is its id)."""

    uri: str
    since: float  # seconds since the epoch
    size: int = 0
    upload: str | None = None


class S3:
    """The buckets of one region.

    `url`: another endpoint than AWS's. `next_wait`: seconds until a request that failed is tried again, by its error
    and the number of attempts so far; None: not again.
    """

    def __init__(
        self,
        region: str,
        url: str | None = None,
        *,
        credentials: CredentialSource,
        next_wait: Callable[[EmbedrockError, int], float | None],
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
        fips: bool = False,
        dual_stack: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.region = region
        self.credentials = credentials
        self._virtual = url is None
        host = f"s3{'-fips' if fips else ''}{'.dualstack' if dual_stack else ''}.{region}.amazonaws.com"
        parts = urlsplit(url or f"https://{host}")
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._secure else 80)
        self._prefix = parts.path.rstrip("/")
        self._tls = tls
        self._next_wait = next_wait
        self._clock = clock
        self._pools: dict[str, Pool] = {}
        self._cleaning: set[asyncio.Task[None]] = set()

    async def head(self, uri: str) -> Head:
        """Return what S3 tells of an object."""
        response = await self._answer("HEAD", uri)
        size = response.headers.get(b"content-length", b"")
        if response.status != 200:  # an answer to HEAD cannot say why
            response = await self._ask("GET", uri, headers={"range": "bytes=0-0"})
            size = response.headers.get(b"content-range", b"").rpartition(b"/")[2]
        if not size.isdigit():
            raise InvalidUpstream("S3 does not say how large an object is.")
        etag = response.headers.get(b"etag", b"").decode("latin-1")
        mime = response.headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
        return Head(int(size), etag, mime, (await self._credentials()).account)

    async def get(self, uri: str, *, first: int = 0, last: int | None = None, etag: str = "") -> AsyncIterator[bytes]:
        """Yield the bytes from `first` to `last`, both included, or to the end, in pieces.

        All are of one version: of `etag`, or of the one that the first piece is of. Raises S3Changed.
        """
        while last is None or first <= last:
            until = first + PIECE_BYTES - 1 if last is None else min(last, first + PIECE_BYTES - 1)
            pinned = {"if-match": etag} if etag else {}
            response = await self._answer("GET", uri, headers={"range": f"bytes={first}-{until}", **pinned})
            if response.status == 416:
                return  # nothing there, or nothing more
            s3_answers.check(response, self.region)
            etag = etag or response.headers.get(b"etag", b"").decode("latin-1")
            size = response.headers.get(b"content-range", b"").rpartition(b"/")[2]
            if response.status != 206 or not size.isdigit():
                raise InvalidUpstream("S3 answered something else than the range asked for.")
            yield bytes(response.body)
            first += len(response.body)
            if not response.body or first >= int(size):
                return

    async def put(self, uri: str, pieces: AsyncIterable[bytes], *, mime: str = "application/octet-stream") -> None:
        """Write an object. It is there whole, or not at all."""
        part = bytearray()
        upload: str | None = None
        etags: list[str] = []
        size = 0
        try:
            async for piece in pieces:
                size += len(piece)
                part += piece
                while len(part) > PIECE_BYTES:
                    if upload is None:
                        upload = await self._begin(uri, mime)
                    etags.append(await self._put_part(uri, upload, len(etags) + 1, _first(part)))
                    del part[:PIECE_BYTES]
            if upload is None:
                await self._ask("PUT", uri, bytes(part), {"content-type": mime})
                return
            etags.append(await self._put_part(uri, upload, len(etags) + 1, bytes(part)))
            await self._complete(uri, upload, etags, size)
        except BaseException:
            if upload is not None:
                await self._in_any_case(self.abort(uri, upload))
            raise

    async def delete(self, uri: str) -> None:
        """Remove an object; one that is not there is no error."""
        try:
            await self._ask("DELETE", uri)
        except S3NotFound:
            return

    async def abort(self, uri: str, upload: str) -> None:
        """Remove the parts of an upload that has not ended."""
        try:
            await self._ask("DELETE", uri, query={"uploadId": upload})
        except S3NotFound:
            return

    async def objects(self, uri: str) -> AsyncIterator[Listed]:
        """Yield the objects whose URIs begin with `uri`, in the order of their keys."""
        bucket, prefix = split(uri)
        more: dict[str, str] = {}
        while True:
            query = {"list-type": "2", "encoding-type": "url", "prefix": prefix, **more}
            page = s3_answers.read((await self._ask("GET", f"s3://{bucket}/", query=query)).body)
            for entry in page.find_all("Contents"):
                key = unquote(entry.text("Key"))
                yield Listed(f"s3://{bucket}/{key}", _seconds(entry.text("LastModified")), int(entry.text("Size")))
            token = page.text("NextContinuationToken")
            if page.text("IsTruncated") != "true" or not token:
                return
            more = {"continuation-token": token}

    async def uploads(self, uri: str) -> AsyncIterator[Listed]:
        """Yield the uploads that have not ended, of objects whose URIs begin with `uri`."""
        bucket, prefix = split(uri)
        more: dict[str, str] = {}
        while True:
            query = {"uploads": "", "encoding-type": "url", "prefix": prefix, **more}
            page = s3_answers.read((await self._ask("GET", f"s3://{bucket}/", query=query)).body)
            for entry in page.find_all("Upload"):
                key = unquote(entry.text("Key"))
                yield Listed(f"s3://{bucket}/{key}", _seconds(entry.text("Initiated")), upload=entry.text("UploadId"))
            if page.text("IsTruncated") != "true":
                return
            more = {
                "key-marker": unquote(page.text("NextKeyMarker")),
                "upload-id-marker": page.text("NextUploadIdMarker"),
            }

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()

    # ------------------------------------------------------------------------------------------------- in parts

    async def _begin(self, uri: str, mime: str) -> str:
        response = await self._ask("POST", uri, headers={"content-type": mime}, query={"uploads": ""})
        upload = s3_answers.read(response.body).text("UploadId")
        if not upload:
            raise InvalidUpstream("S3 began an upload without an id.")
        return upload

    async def _put_part(self, uri: str, upload: str, number: int, part: bytes) -> str:
        query = {"partNumber": str(number), "uploadId": upload}
        response = await self._ask("PUT", uri, part, query=query)
        return response.headers.get(b"etag", b"").decode("latin-1")

    async def _complete(self, uri: str, upload: str, etags: list[str], size: int) -> None:
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
            for number, etag in enumerate(etags, start=1)
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        try:
            await self._ask("POST", uri, body, {"content-type": "application/xml"}, {"uploadId": upload})
        except S3NotFound:
            # An attempt whose answer was lost may have ended it.
            if (await self.head(uri)).size != size:
                raise

    async def _in_any_case(self, cleaning: Any) -> None:
        """Await `cleaning` also when the caller is gone, or goes meanwhile; its failure is not the caller's."""

        async def clean() -> None:
            try:
                async with asyncio.timeout(_CLEAN_UP_S):
                    await cleaning
            except (EmbedrockError, TimeoutError):
                pass  # the sweeper comes by later

        task = asyncio.create_task(clean())
        self._cleaning.add(task)
        task.add_done_callback(self._cleaning.discard)
        await asyncio.shield(task)

    # ---------------------------------------------------------------------------------------------- one request

    async def _ask(
        self,
        method: str,
        uri: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Response:
        """Return the answer to a request, which says that it went well. Raises the error that stands for S3's."""
        response = await self._answer(method, uri, body, headers, query)
        s3_answers.check(response, self.region)
        return response

    async def _answer(
        self,
        method: str,
        uri: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Response:
        """Return the answer to a request, whatever it says; what may pass is tried again before."""
        digest = _digest(body) if len(body) <= _HASHED_HERE_BYTES else await asyncio.to_thread(_digest, body)
        attempt = 0
        refused: Credentials | None = None
        while True:
            credentials = await (self._credentials() if refused is None else self.credentials.replace(refused))
            attempt += 1
            try:
                request, pool = self._signed(method, uri, body, digest, headers or {}, query or {}, credentials)
                response = await pool.request(request, timeout_s=_ATTEMPT_S)
                if refused is None and s3_answers.refuses_credentials(response):
                    refused = credentials
                    continue
                s3_answers.check_passing(response)
            except EmbedrockError as exc:
                wait_s = self._next_wait(exc, attempt)
                if wait_s is None:
                    raise
                await asyncio.sleep(wait_s)
            else:
                return response

    async def _credentials(self) -> Credentials:
        return self.credentials.fresh() or await self.credentials.get()

    def _signed(
        self,
        method: str,
        uri: str,
        body: bytes,
        digest: str,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        credentials: Credentials,
    ) -> tuple[bytes, Pool]:
        """Return a request as it goes over the wire, and the connections to send it over."""
        bucket, key = split(uri)
        path, host = f"/{quote(key, safe='/-_.~')}", self._host
        if self._virtual and "." not in bucket:  # AWS's certificates cover one label
            host = f"{bucket}.{host}"
        else:
            path = f"{self._prefix}/{bucket}{path if key else ''}"
        shown = host if self._port == (443 if self._secure else 80) else f"{host}:{self._port}"
        values = {**headers, "x-amz-content-sha256": digest}
        if credentials.account:
            values["x-amz-expected-bucket-owner"] = credentials.account
        encoded = "&".join(f"{name}={quote(value, safe='-_.~')}" for name, value in sorted(query.items()))
        signer = RequestSigner(method, shown, path, values, region=self.region, service="s3", query=encoded)
        date, authorization = signer.sign(digest, credentials, self._clock())
        if credentials.token:
            values["x-amz-security-token"] = credentials.token
        values |= {"x-amz-date": date, "authorization": authorization, "content-length": str(len(body))}
        target = f"{path}?{encoded}" if encoded else path
        lines = "".join(f"{name}: {value}\r\n" for name, value in values.items())
        head = f"{method} {target} HTTP/1.1\r\nhost: {shown}\r\nuser-agent: embedrock\r\n{lines}\r\n"
        return b"%b%b" % (head.encode(), body), self._pool(host)

    def _pool(self, host: str) -> Pool:
        pool = self._pools.pop(host, None)
        if pool is None:
            if len(self._pools) >= _POOLS_KEPT:
                self._pools.pop(next(iter(self._pools))).close()  # the one that was used longest ago
            pool = Pool(host, self._port, tls=self._tls() if self._secure else None, size=64, peer="S3")
        self._pools[host] = pool
        return pool


def _first(part: bytearray) -> bytes:
    with memoryview(part) as whole:  # a slice of the bytearray would be another copy
        return bytes(whole[:PIECE_BYTES])


def split(uri: str) -> tuple[str, str]:
    """Return bucket and key of `s3://bucket/key`."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def _digest(body: bytes) -> str:
    return sha256(body).hexdigest()


def _seconds(when: str) -> float:
    try:
        return datetime.fromisoformat(when).timestamp()
    except ValueError as exc:
        raise InvalidUpstream("S3 answered a time that is none.") from exc
