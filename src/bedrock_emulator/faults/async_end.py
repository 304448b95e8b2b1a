"""An asynchronous call fails in the end, or never ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from ..fate import Fate
from ..response import Response, Struck
from ..settings import Settings


@dataclass(frozen=True, slots=True)
class AsyncEnd:
    """`status`: `Failed` (default) or `InProgress`, for ever; `message`: of the failure, none unless given."""

    NAME: ClassVar[str] = "async_end"
    OP: ClassVar[str | None] = "StartAsyncInvoke"
    fate: Fate

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its end."""
        status = settings.choice("status", ("Failed", "InProgress"), "Failed")
        return cls(Fate(status, settings.text_or_none("message")))

    async def strike(self, call: Struck) -> Response:
        """Start the call with its fate."""
        return await call.fated(self.fate)
