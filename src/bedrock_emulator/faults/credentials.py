"""The credentials are refused, although they are right: expired, unknown, or signed by a clock that is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Self

from ..errors import expired_token, signature_outdated, unrecognized_client
from ..response import Response, Struck, as_error
from ..settings import Settings

_SKEW = timedelta(minutes=6)


@dataclass(frozen=True, slots=True)
class ExpiredToken:
    """Has no settings of its own."""

    NAME: ClassVar[str] = "expired_token"
    OP: ClassVar[str | None] = None

    @classmethod
    def read(cls, settings: Settings) -> Self:  # noqa: ARG003
        """Return the fault."""
        return cls()

    async def strike(self, call: Struck) -> Response:  # noqa: ARG002
        """Return the 403."""
        return as_error(expired_token())


@dataclass(frozen=True, slots=True)
class UnrecognizedClient:
    """Has no settings of its own."""

    NAME: ClassVar[str] = "unrecognized_client"
    OP: ClassVar[str | None] = None

    @classmethod
    def read(cls, settings: Settings) -> Self:  # noqa: ARG003
        """Return the fault."""
        return cls()

    async def strike(self, call: Struck) -> Response:  # noqa: ARG002
        """Return the 403."""
        return as_error(unrecognized_client())


@dataclass(frozen=True, slots=True)
class SignatureExpired:
    """`clock`: the caller's is six minutes `behind` (default) or `ahead`."""

    NAME: ClassVar[str] = "signature_expired"
    OP: ClassVar[str | None] = None
    clock: str

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its direction."""
        return cls(settings.choice("clock", ("behind", "ahead"), "behind"))

    async def strike(self, call: Struck) -> Response:  # noqa: ARG002
        """Return the 403; it names no date of the request, but one six minutes off."""
        now = datetime.now(UTC)
        return as_error(signature_outdated(now - _SKEW if self.clock == "behind" else now + _SKEW, now))
