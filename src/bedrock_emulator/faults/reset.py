"""The connection is reset (RST): before the answer begins, or in the middle of its body."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from ..response import Response, Struck
from ..settings import Settings


@dataclass(frozen=True, slots=True)
class Reset:
    """`at`: `before_headers` (default; the call is not worked on) or `mid_body` (after half of the true answer)."""

    NAME: ClassVar[str] = "reset"
    OP: ClassVar[str | None] = None
    at: str

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its place."""
        return cls(settings.choice("at", ("before_headers", "mid_body"), "before_headers"))

    async def strike(self, call: Struck) -> Response:
        """Return an answer that breaks off."""
        if self.at == "before_headers":
            return Response(0, b"", reset="before_headers")
        answer = await call.true_answer()
        return replace(answer, reset=len(answer.body) // 2)
