"""A connection that was kept alive is no more, and nothing said so before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from ..response import Response, Struck
from ..settings import Settings
from ..transport import Connection


@dataclass(frozen=True, slots=True)
class StaleKeepAlive:
    """`end`: `close` (default; FIN when the connection has been idle for `idle_s` after the true answer, by default at
    once) or `reset` (RST when the next request comes)."""

    NAME: ClassVar[str] = "stale_keep_alive"
    OP: ClassVar[str | None] = None
    end: str
    idle_s: float

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its end."""
        return cls(settings.choice("end", ("close", "reset"), "close"), settings.number("idle_s", 0.0))

    async def strike(self, call: Struck) -> Response:
        """Return the true answer, the last one of its connection."""
        return replace(await call.true_answer(), deliver=self._deliver)

    async def _deliver(self, answer: Response, connection: Connection) -> None:
        if self.end == "reset":
            connection.reset_when_used()
        else:
            connection.close_when_idle(self.idle_s)
        await connection.send(answer.status, answer.headers, answer.body)
