"""The call is never answered, and not worked on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from ..response import Response, Struck, unanswered
from ..settings import Settings
from ..transport import Connection


@dataclass(frozen=True, slots=True)
class Hang:
    """`hold_s`: the connection is closed after so many seconds; without it, it is open until the caller goes."""

    NAME: ClassVar[str] = "hang"
    OP: ClassVar[str | None] = None
    hold_s: float | None

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its patience."""
        return cls(settings.number("hold_s", None))

    async def strike(self, call: Struck) -> Response:  # noqa: ARG002
        """Return no answer."""
        return unanswered(self._deliver)

    async def _deliver(self, _: Response, connection: Connection) -> None:
        if not await connection.gone(self.hold_s):
            await connection.close()
