"""Checking AWS's signatures, version 4, against one pair of keys.

The path is signed as it is on the wire with every segment percent-encoded once more: a sent `%3A` is signed as `%253A`
(bytes of botocore). S3 alone does without the second time, and says in a header what it signed of the body.
Source: AWS documentation, Signature Version 4; texts of refusals are AWS-wide ones.

Not supported: signatures in the query string, and a `Date` header in place of `X-Amz-Date`.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from .errors import (
    MAX_SKEW,
    expired_token,
    incomplete_signature,
    invalid_signature,
    missing_credentials,
    signature_outdated,
    unrecognized_client,
    wrong_api_key,
    wrong_signature,
)
from .settings import Settings

_ALGORITHM = "AWS4-HMAC-SHA256"
_BEDROCK = "bedrock"  # of both hosts, the runtime's too
_S3 = "s3"
_PARTS = ("Credential", "Signature", "SignedHeaders")
_UNRESERVED = "-_.~"


@dataclass(frozen=True, slots=True)
class Keys:
    """The one pair of keys that signs rightly; `expired` are ids of access keys that once did."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    expired: tuple[str, ...] = ()

    @classmethod
    def read(cls, body: object) -> Keys:
        """Return the keys in a posted body. Raises BadSettingError."""
        settings = Settings(body)
        keys = cls(
            access_key=settings.text("access_key"),
            secret_key=settings.text("secret_key"),
            session_token=settings.text_or_none("session_token"),
            expired=settings.text_list("expired"),
        )
        settings.done()
        return keys

    def as_json(self) -> dict[str, Any]:
        """Return the keys without what is secret."""
        return {
            "access_key": self.access_key,
            "has_session_token": self.session_token is not None,
            "expired": list(self.expired),
        }


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it is on the wire: path and query undecoded, header names in lower case."""

    method: str
    path: bytes
    query: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return a header, several of one name joined, white space as it is signed; None when there is none."""
        found = [value.decode("latin-1") for key, value in self.headers if key == name.encode("latin-1", "replace")]
        return ",".join(" ".join(value.split()) for value in found) if found else None


def verify(request: Request, keys: Keys, *, now: datetime, service: str = _BEDROCK) -> None:
    """Raise AwsError unless `request` is signed with `keys`, at most five minutes before or after `now`."""
    parts = _parse(request.header("authorization"))
    access_key, *scope = parts["Credential"].split("/")
    if access_key in keys.expired:
        raise expired_token()
    if access_key != keys.access_key or request.header("x-amz-security-token") != keys.session_token:
        raise unrecognized_client()
    stamp = request.header("x-amz-date") or ""
    signed = _read_date(stamp)
    _check_scope(scope, stamp, service)
    if abs(now - signed) > MAX_SKEW:
        raise signature_outdated(signed, now)
    names = parts["SignedHeaders"].split(";")
    if "host" not in names:
        raise invalid_signature("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    text = "\n".join(
        (_ALGORITHM, stamp, "/".join(scope), sha256(canonical_request(request, names, service)).hexdigest())
    )
    if not hmac.compare_digest(_sign(keys.secret_key, scope, text).encode(), parts["Signature"].encode()):
        raise wrong_signature()


def canonical_request(request: Request, names: Sequence[str], service: str = _BEDROCK) -> bytes:
    """Return the text whose hash is signed; `names` are the signed headers."""
    path = unquote_to_bytes(request.path) if service == _S3 else request.path
    sent_hash = request.header("x-amz-content-sha256") if service == _S3 else None
    pairs = parse_qsl(request.query.decode("latin-1"), keep_blank_values=True)
    query = sorted((quote(key, safe=_UNRESERVED), quote(value, safe=_UNRESERVED)) for key, value in pairs)
    lines = [
        request.method,
        quote(path, safe=f"/{_UNRESERVED}"),
        "&".join(f"{key}={value}" for key, value in query),
        *(f"{name}:{request.header(name) or ''}" for name in names),
        "",
        ";".join(names),
        sent_hash or sha256(request.body).hexdigest(),
    ]
    return "\n".join(lines).encode("latin-1")


def _parse(authorization: str | None) -> dict[str, str]:
    if not authorization:
        raise missing_credentials()
    scheme, _, rest = authorization.partition(" ")
    if scheme == "Bearer":
        raise wrong_api_key()
    parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    missing = [name for name in _PARTS if not parts.get(name)]
    if scheme != _ALGORITHM or missing:
        details = [f"Authorization header requires '{name}' parameter." for name in missing]
        raise incomplete_signature(" ".join(details) or f"Unsupported AWS 'algorithm': '{scheme}'.")
    return parts


def _read_date(stamp: str) -> datetime:
    if not stamp:
        raise incomplete_signature(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
        )
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise incomplete_signature(f"Date must be in ISO-8601 'basic format'. Got '{stamp}'.") from None


def _check_scope(scope: Sequence[str], stamp: str, service: str) -> None:
    """Refuse a scope that is not `date/region/service/aws4_request`; every region is served."""
    if len(scope) != 4 or scope[3] != "aws4_request":
        raise incomplete_signature("Credential must have exactly 5 slash-delimited elements, the last 'aws4_request'.")
    if scope[2] != service:
        raise invalid_signature(f"Credential should be scoped to correct service: '{service}'.")
    if not stamp.startswith(f"{scope[0]}T"):
        raise invalid_signature(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{scope[0]}' != '{stamp[:8]}', from '{stamp}'."
        )


def _sign(secret: str, scope: Sequence[str], text: str) -> str:
    key = f"AWS4{secret}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()
