"""A client token counts as used for another call: 400 ConflictException."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from ..errors import conflict
from ..response import Response, Struck, as_error
from ..settings import Settings


@dataclass(frozen=True, slots=True)
class AsyncConflict:
    """Has no settings of its own."""

    NAME: ClassVar[str] = "async_conflict"
    OP: ClassVar[str | None] = "StartAsyncInvoke"

    @classmethod
    def read(cls, settings: Settings) -> Self:  # noqa: ARG003
        """Return the fault."""
        return cls()

    async def strike(self, call: Struck) -> Response:  # noqa: ARG002
        """Return the 400."""
        return as_error(conflict("The client request token was used before with other parameters."))
