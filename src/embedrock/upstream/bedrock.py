"""InvokeModel and its neighbours: one attempt is sign, send, read all, parse, check.

What breaks in the body breaks the attempt like what breaks before it, so the layer above sees one error either way
and retries both. Only refused credentials are dealt with here: refreshed once for everybody, and the call replayed.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from embedrock.errors import BadRequest, EmbedrockError, UpstreamTimeout
from embedrock.telemetry import LOGGER
from embedrock.upstream import aws_errors
from embedrock.upstream.connection import Pool, Response
from embedrock.upstream.credentials import CredentialSource
from embedrock.upstream.sigv4 import Credentials, RequestSigner
from embedrock.vectors import BROKEN_JSON

T = TypeVar("T")

_log = logging.getLogger(LOGGER)

#: More headers for a call, by lower-case name.
Headers = tuple[tuple[str, str], ...]

_CALLS_KEPT: Final = 1024  # a caller may spell a profile's ARN in as many ways as there are accounts
_HASHED_HERE_BYTES: Final = 500_000  # a larger body is hashed in a thread, which lets others run meanwhile
_JSON: Final = {"accept": "application/json", "content-type": "application/json"}


def endpoint(region: str, *, fips: bool = False, dual_stack: bool = False) -> str:
    """Return the URL of a region's runtime endpoint. Source: AWS service endpoints, `bedrock-runtime`."""
    host = "bedrock-runtime-fips" if fips else "bedrock-runtime"
    return f"https://{host}.{region}.{'api.aws' if dual_stack else 'amazonaws.com'}"


class _ModelErrorBody(msgspec.Struct):
    originalStatusCode: int | None = None  # noqa: N815  # AWS's name


@dataclass(frozen=True, slots=True)
class _Call:
    """What is the same in every call of one path with the same headers."""

    head: bytes
    signer: RequestSigner


class Bedrock:
    """The runtime API of one region. `credentials` None means that `bearer` is sent instead of a signature."""

    def __init__(
        self,
        region: str,
        url: str,
        *,
        credentials: CredentialSource | None,
        bearer: str | None = None,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        host = parts.hostname or ""
        shown = f"[{host}]" if ":" in host else host
        self.region = region
        self._prefix = parts.path.rstrip("/")
        self._host = shown if port == (443 if secure else 80) else f"{shown}:{port}"
        self._pool = Pool(host, port, tls=(tls or ssl.create_default_context()) if secure else None)
        self.credentials = credentials
        self._bearer = bearer
        self._clock = clock
        self._invocations: dict[tuple[str, Headers], _Call] = {}  # by model

    async def invoke(
        self, model_id: str, body: bytes, parse: Callable[[Response], T], *, headers: Headers = (), timeout_s: float
    ) -> T:
        """Send `body` to `model_id` and return what `parse` makes of the answer. One attempt.

        Raises what `parse` raises, and the error that stands for AWS's.
        """
        call = self._invocations.get((model_id, headers))
        if call is None:
            if len(self._invocations) >= _CALLS_KEPT:
                self._invocations.clear()
            call = self._prepare(f"/model/{quote(model_id, safe='-_.~')}/invoke", headers)
            self._invocations[model_id, headers] = call
        return await self._attempt(call, body, parse, timeout_s)

    async def post(self, path: str, body: bytes, parse: Callable[[Response], T], *, timeout_s: float) -> T:
        """Send `body` to another path, percent-encoded as it goes over the wire. Otherwise like `invoke`."""
        return await self._attempt(self._prepare(path, ()), body, parse, timeout_s)

    async def get(self, path: str, parse: Callable[[Response], T], *, timeout_s: float) -> T:
        """Ask for a path, percent-encoded as it goes over the wire. Otherwise like `invoke`."""
        return await self._attempt(self._prepare(path, (), "GET"), b"", parse, timeout_s)

    async def _attempt(self, call: _Call, body: bytes, parse: Callable[[Response], T], timeout_s: float) -> T:
        if timeout_s <= 0:
            raise UpstreamTimeout("The request's time is up.")
        give_up = time.monotonic() + timeout_s
        if self.credentials is None:
            response = await self._pool.request(self._with_bearer(call, body), timeout_s=timeout_s)
        else:
            source = self.credentials
            credentials = source.fresh() or await _in_time(source.get(), give_up)
            digest = _digest(body) if len(body) <= _HASHED_HERE_BYTES else await asyncio.to_thread(_digest, body)
            response = await self._send(call, body, digest, credentials, give_up)
            if response.status != 200 and _refuses_credentials(response):
                others = await _in_time(source.replace(credentials), give_up)
                response = await self._send(call, body, digest, others, give_up)
        if response.status != 200:
            raise _error(response)
        return parse(response)

    def _send(
        self, call: _Call, body: bytes, digest: str, credentials: Credentials, give_up: float
    ) -> Awaitable[Response]:
        request = self._signed(call, body, digest, credentials)
        return self._pool.request(request, timeout_s=give_up - time.monotonic())

    def close(self) -> None:
        self._pool.close()

    def _prepare(self, path: str, headers: Headers, method: str = "POST") -> _Call:
        path = self._prefix + path
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        return _Call(
            f"{method} {path} HTTP/1.1\r\nhost: {self._host}\r\naccept: application/json\r\n"
            f"content-type: application/json\r\nuser-agent: embedrock\r\n{lines}".encode(),
            RequestSigner(method, self._host, path, _JSON | dict(headers), region=self.region, service="bedrock"),
        )

    def _signed(self, call: _Call, body: bytes, digest: str, credentials: Credentials) -> bytes:
        date, authorization = call.signer.sign(digest, credentials, self._clock())
        token = f"x-amz-security-token: {credentials.token}\r\n" if credentials.token else ""
        headers = f"x-amz-date: {date}\r\n{token}authorization: {authorization}\r\ncontent-length: {len(body)}\r\n\r\n"
        return b"%b%b%b" % (call.head, headers.encode(), body)

    def _with_bearer(self, call: _Call, body: bytes) -> bytes:
        headers = f"authorization: Bearer {self._bearer}\r\ncontent-length: {len(body)}\r\n\r\n"
        return b"%b%b%b" % (call.head, headers.encode(), body)


def _digest(body: bytes) -> str:
    return sha256(body).hexdigest()


async def _in_time(coming: Awaitable[Credentials], give_up: float) -> Credentials:
    try:
        async with asyncio.timeout(give_up - time.monotonic()):
            return await coming
    except TimeoutError:
        raise UpstreamTimeout("The gateway's AWS credentials did not come in time.") from None


def _refuses_credentials(response: Response) -> bool:
    name, text = aws_errors.name_and_text(response.headers, response.body)
    return name in aws_errors.REFUSED_CREDENTIALS or "Signature expired" in text


def _error(response: Response) -> EmbedrockError:
    name, text = aws_errors.name_and_text(response.headers, response.body)
    original = None
    if name == "ModelErrorException":
        try:
            original = msgspec.json.decode(response.body, type=_ModelErrorBody).originalStatusCode
        except BROKEN_JSON:
            original = None
    error = aws_errors.to_error(response.status, name, text, original)
    if type(error) is BadRequest:  # one we have no words for; AWS's own may hold what the caller sent
        request_id = response.headers.get(b"x-amzn-requestid", b"unknown").decode("latin-1")
        _log.warning("Bedrock refused a call with %s, AWS request id %s", name or response.status, request_id)
    return error
