"""The connection is reset (RST): before the answer begins, or in its body."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from ..response import Response, Struck, unanswered
from ..settings import Settings
from ..transport import Connection
from .places import IN_BODY, send_until


@dataclass(frozen=True, slots=True)
class Reset:
    """`at`: `before_headers` (default; the call is not worked on), or in the body of the true answer: `first_byte`
    (after one), `mid_body` (after half of it), `last_byte` (before it)."""

    NAME: ClassVar[str] = "reset"
    OP: ClassVar[str | None] = None
    at: str

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its place."""
        return cls(settings.choice("at", ("before_headers", *IN_BODY), "before_headers"))

    async def strike(self, call: Struck) -> Response:
        """Return an answer that breaks off."""
        if self.at == "before_headers":
            return unanswered(self._deliver)
        return replace(await call.true_answer(), deliver=self._deliver)

    async def _deliver(self, answer: Response, connection: Connection) -> None:
        if self.at != "before_headers":
            await send_until(self.at, answer, connection)
        await connection.reset()
