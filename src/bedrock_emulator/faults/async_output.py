"""An asynchronous call is completed, but what it left in S3 is not what it should be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from ..fate import OUTPUTS, Fate
from ..response import Response, Struck
from ..settings import Settings

_HUGE_MB = 2048


@dataclass(frozen=True, slots=True)
class AsyncOutput:
    """`kind`: `missing` (default; no file at all), `empty` or `truncated` (of the files with vectors), `huge` (of
    `size_mb`, 2,048), `fewer` or `more` (segments, by one), `foreign` (the vectors of something else), and for Nova
    `partial` (every second segment failed) or `failed` (all did). `late_s`: missing files come so long after the end.
    """

    NAME: ClassVar[str] = "async_output"
    OP: ClassVar[str | None] = "StartAsyncInvoke"
    fate: Fate

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its kind."""
        kind = settings.choice("kind", OUTPUTS, "missing")
        size_mb = settings.whole("size_mb", _HUGE_MB) or 0
        if settings.has("late_s") and kind != "missing":
            raise settings.refuse("late_s", "goes with the kind missing")
        return cls(Fate(output=kind, late_s=settings.number("late_s", None), size=size_mb * 1024 * 1024))

    async def strike(self, call: Struck) -> Response:
        """Start the call with its fate."""
        return await call.fated(self.fate)
