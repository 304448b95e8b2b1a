"""Calls take longer than they should, by a factor, by a constant, or more and more."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import ClassVar, Self

from ..response import Response, Struck
from ..settings import Settings


@dataclass(slots=True)
class LatencyShift:
    """`factor`: of the time a call takes (3); `add_ms`: what is added to that (0).

    `over_s`: both grow from nothing to this, evenly, in so many seconds from the first call that is struck (0).
    """

    NAME: ClassVar[str] = "latency_shift"
    OP: ClassVar[str | None] = None
    factor: float
    add_s: float
    over_s: float
    first_at: float | None = None

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its amounts."""
        return cls(
            settings.number("factor", 3.0),
            settings.number("add_ms", 0.0) / 1000,
            settings.number("over_s", 0.0),
        )

    async def strike(self, call: Struck) -> Response:
        """Return the true answer, late."""
        started = time.monotonic()
        answer = await call.true_answer()
        await asyncio.sleep(self.extra_s(time.monotonic() - started, started))
        return answer

    def extra_s(self, taken_s: float, now: float) -> float:
        """Return how much longer a call takes that would have taken `taken_s`."""
        if self.first_at is None:
            self.first_at = now
        grown = min(1.0, (now - self.first_at) / self.over_s) if self.over_s else 1.0
        return grown * (max(0.0, self.factor - 1) * taken_s + self.add_s)
