"""The vectors have another norm than theirs, as if normalising had been forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from ..response import Response, Struck
from ..settings import Settings
from .answers import Vector, altered, each_vector


@dataclass(frozen=True, slots=True)
class Norm:
    """`scale`: what every number is multiplied with (0.5); whole numbers are rounded. `at`: the one input, else all."""

    NAME: ClassVar[str] = "norm"
    OP: ClassVar[str | None] = "InvokeModel"
    scale: float
    at: int | None

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its factor."""
        return cls(settings.number("scale", 0.5), settings.whole("at", None))

    async def strike(self, call: Struck) -> Response:
        """Return the answer with longer or shorter vectors."""
        return altered(await call.true_answer(), lambda answer: each_vector(answer, self._stretch, at=self.at))

    def _stretch(self, vector: Vector) -> Vector:
        return [round(item * self.scale) if isinstance(item, int) else item * self.scale for item in vector]
