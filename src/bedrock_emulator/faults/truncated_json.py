"""The body has its right length but not its end, which is blank."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from ..response import Response, Struck
from ..settings import Settings

_LOST = 20  # bytes


@dataclass(frozen=True, slots=True)
class TruncatedJson:
    """Has no settings of its own."""

    NAME: ClassVar[str] = "truncated_json"
    OP: ClassVar[str | None] = None

    @classmethod
    def read(cls, settings: Settings) -> Self:  # noqa: ARG003
        """Return the fault."""
        return cls()

    async def strike(self, call: Struck) -> Response:
        """Return the answer with spaces for its last bytes."""
        answer = await call.true_answer()
        return replace(answer, body=answer.body[:-_LOST].ljust(len(answer.body)))
