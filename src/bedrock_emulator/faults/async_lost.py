"""An asynchronous call is started, and its caller does not hear of it: the same client token finds it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from ..errors import AwsError, throttled
from ..response import Response, Struck, as_error, unanswered
from ..settings import Settings
from ..transport import Connection

_ANSWERS = ("server_error", "throttle", "reset")


@dataclass(frozen=True, slots=True)
class AsyncLost:
    """`answer`: what the caller gets instead: `server_error` (default; 500), `throttle` (429) or `reset` (RST)."""

    NAME: ClassVar[str] = "async_lost"
    OP: ClassVar[str | None] = "StartAsyncInvoke"
    answer: str

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its answer."""
        return cls(settings.choice("answer", _ANSWERS, "server_error"))

    async def strike(self, call: Struck) -> Response:
        """Start the call, and return something else."""
        await call.true_answer()
        match self.answer:
            case "throttle":
                return as_error(throttled())
            case "reset":
                return unanswered(_reset)
        return as_error(AwsError(500, "InternalServerException", "The system encountered an unexpected error."))


async def _reset(_: Response, connection: Connection) -> None:
    await connection.reset()
