"""The service fails: 500 and 503 in AWS's shape, 502 and 504 as HTML from the load balancer before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from ..errors import AwsError
from ..response import Response, Struck, as_error
from ..settings import BadSettingError, Settings

# The names are Bedrock's; the texts are not catalogued, clients match on name and status.
_BEDROCK = {
    500: (
        "InternalServerException",
        "The system encountered an unexpected error during processing. Try your request again.",
    ),
    503: ("ServiceUnavailableException", "The service is unavailable. Please try again later."),
}
_BALANCER = {502: "Bad Gateway", 504: "Gateway Time-out"}


@dataclass(frozen=True, slots=True)
class ServerError:
    """`status`: 500 (default), 502, 503 or 504."""

    NAME: ClassVar[str] = "server_error"
    OP: ClassVar[str | None] = None
    status: int

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its status."""
        status = settings.whole("status", 500)
        if status not in (*_BEDROCK, *_BALANCER):
            raise BadSettingError("status: must be one of 500, 502, 503, 504")
        return cls(status)

    async def strike(self, call: Struck) -> Response:  # noqa: ARG002
        """Return the error."""
        if self.status in _BEDROCK:
            name, message = _BEDROCK[self.status]
            return as_error(AwsError(self.status, name, message))
        title = f"{self.status} {_BALANCER[self.status]}"
        page = f"<html>\r\n<head><title>{title}</title></head>\r\n<body><h1>{title}</h1></body>\r\n</html>\r\n"
        return Response(self.status, page.encode(), [(b"content-type", b"text/html")])
