"""A quota is exceeded: 429 ThrottlingException, answered at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from ..errors import throttled
from ..response import Response, Struck, as_error
from ..settings import Settings


@dataclass(frozen=True, slots=True)
class Throttle:
    """Has no settings of its own."""

    NAME: ClassVar[str] = "throttle"
    OP: ClassVar[str | None] = None

    @classmethod
    def read(cls, settings: Settings) -> Self:  # noqa: ARG003
        """Return the fault."""
        return cls()

    async def strike(self, call: Struck) -> Response:  # noqa: ARG002
        """Return the 429."""
        return as_error(throttled())
