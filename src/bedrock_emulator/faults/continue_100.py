"""The answer is preceded by `100 Continue`, for which nobody waits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from ..response import Response, Struck, hang, unanswered
from ..settings import Settings
from ..transport import Connection

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Continue100:
    """`kind`: `once` (default), `twice`, or `only`: once, and no answer follows until the caller goes."""

    NAME: ClassVar[str] = "continue_100"
    OP: ClassVar[str | None] = None
    kind: str

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its kind."""
        return cls(settings.choice("kind", ("once", "twice", "only"), "once"))

    async def strike(self, call: Struck) -> Response:
        """Return the true answer, or none, to be sent after it."""
        if self.kind == "only":
            return unanswered(self._deliver)
        return replace(await call.true_answer(), deliver=self._deliver)

    async def _deliver(self, answer: Response, connection: Connection) -> None:
        connection.write(_CONTINUE * (2 if self.kind == "twice" else 1))
        if self.kind == "only":
            await hang(answer, connection)
        else:
            await connection.send(answer.status, answer.headers, answer.body)
