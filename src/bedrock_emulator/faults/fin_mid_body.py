"""The connection is closed in the middle of the body, cleanly (FIN): shorter than its Content-Length."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from ..response import Response, Struck
from ..settings import Settings
from ..transport import Connection
from .places import IN_BODY, send_until


@dataclass(frozen=True, slots=True)
class FinMidBody:
    """`at`: `mid_body` (default; after half of it), `first_byte` (after one) or `last_byte` (before it)."""

    NAME: ClassVar[str] = "fin_mid_body"
    OP: ClassVar[str | None] = None
    at: str

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its place."""
        return cls(settings.choice("at", IN_BODY, "mid_body"))

    async def strike(self, call: Struck) -> Response:
        """Return an answer that ends too early."""
        return replace(await call.true_answer(), deliver=self._deliver)

    async def _deliver(self, answer: Response, connection: Connection) -> None:
        await send_until(self.at, answer, connection)
        await connection.close()
