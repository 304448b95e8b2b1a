"""The body comes slowly, or stops for a while in its middle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from ..response import Response, Struck
from ..settings import BadSettingError, Settings
from ..transport import Connection

_BEAT_S = 0.05  # from piece to piece of a slow body


@dataclass(frozen=True, slots=True)
class SlowBody:
    """`bytes_per_s`: 1024 when there is no `stall_s`, for which the body stops after its half; both can be given."""

    NAME: ClassVar[str] = "slow_body"
    OP: ClassVar[str | None] = None
    bytes_per_s: float | None
    stall_s: float

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its speed."""
        stalls = settings.has("stall_s")
        bytes_per_s = settings.number("bytes_per_s", None if stalls else 1024.0)
        if bytes_per_s == 0:
            raise BadSettingError("bytes_per_s: must be over 0")
        return cls(bytes_per_s, settings.number("stall_s", 0.0))

    async def strike(self, call: Struck) -> Response:
        """Return the true answer, to be sent in pieces."""
        return replace(await call.true_answer(), deliver=self._deliver)

    def pauses(self, size: int) -> list[tuple[int, float]]:
        """Return after how many bytes of a body there is a pause, and of how many seconds."""
        found: dict[int, float] = {}
        if self.bytes_per_s:
            step = max(1, round(self.bytes_per_s * _BEAT_S))
            found = dict.fromkeys(range(step, size, step), step / self.bytes_per_s)
        if self.stall_s:
            found[size // 2] = found.get(size // 2, 0.0) + self.stall_s
        return sorted(found.items())

    async def _deliver(self, answer: Response, connection: Connection) -> None:
        sent = 0
        await connection.start(answer.status, answer.headers, len(answer.body))
        for end, pause_s in self.pauses(len(answer.body)):
            await connection.body(answer.body[sent:end], more=True)
            sent = end
            if await connection.gone(pause_s):
                return
        await connection.body(answer.body[sent:])
