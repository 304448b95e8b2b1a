"""A quota of the account stands in the way: 400 ServiceQuotaExceededException, which it is no use to try again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from ..errors import quota_exceeded
from ..response import Response, Struck, as_error
from ..settings import Settings


@dataclass(frozen=True, slots=True)
class ServiceQuotaExceeded:
    """Has no settings of its own."""

    NAME: ClassVar[str] = "service_quota_exceeded"
    OP: ClassVar[str | None] = "InvokeModel"

    @classmethod
    def read(cls, settings: Settings) -> Self:  # noqa: ARG003
        """Return the fault."""
        return cls()

    async def strike(self, call: Struck) -> Response:  # noqa: ARG002
        """Return the 400."""
        return as_error(quota_exceeded())
