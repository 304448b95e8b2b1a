"""A quota is exceeded: 429 ThrottlingException, answered at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from ..errors import QUOTAS, throttled
from ..response import Response, Struck, as_error
from ..settings import Settings


@dataclass(frozen=True, slots=True)
class Throttle:
    """`of`: what there were too many of: `requests` (default), `tokens` or `tokens_per_day`."""

    NAME: ClassVar[str] = "throttle"
    OP: ClassVar[str | None] = None
    of: str

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its quota."""
        return cls(settings.choice("of", QUOTAS, "requests"))

    async def strike(self, call: Struck) -> Response:  # noqa: ARG002
        """Return the 429."""
        return as_error(throttled(self.of))
