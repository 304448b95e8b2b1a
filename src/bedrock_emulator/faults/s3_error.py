"""S3 refuses, or fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from ..response import Response, Struck
from ..s3.errors import S3Error
from ..settings import Settings

_REDIRECTS = {"PermanentRedirect": 301, "TemporaryRedirect": 307}
_CODES = (
    *("SlowDown", "InternalError", "AccessDenied", "NoSuchKey", "PreconditionFailed", "RequestTimeTooSkewed"),
    *("RequestExpired", *_REDIRECTS),
)
_ELSEWHERE = "eu-west-1"


@dataclass(frozen=True, slots=True)
class S3ErrorFault:
    """`code`: `SlowDown` (default; 503), `InternalError` (500), `AccessDenied` (403), `NoSuchKey` (404),
    `PreconditionFailed` (412), `RequestTimeTooSkewed` (403), `RequestExpired` (403, of a signed URL),
    `PermanentRedirect` (301) or `TemporaryRedirect` (307), both to eu-west-1. `done`: true, and the work is done first.
    """

    NAME: ClassVar[str] = "s3_error"
    OP: ClassVar[str | None] = None
    code: str
    done: bool

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its code."""
        return cls(settings.choice("code", _CODES, "SlowDown"), settings.flag("done"))

    async def strike(self, call: Struck) -> Response:
        """Raise the error, which S3 puts into its own shape."""
        if self.done:
            await call.true_answer()
        if self.code == "RequestExpired":
            raise S3Error("AccessDenied", message="Request has expired")
        if self.code in _REDIRECTS:
            raise S3Error(
                self.code,
                status=_REDIRECTS[self.code],
                message="Please send this request to the endpoint of the bucket's region.",
                headers=[(b"x-amz-bucket-region", _ELSEWHERE.encode())],
            )
        raise S3Error(self.code)
