"""The vectors have another length than asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from ..response import Response, Struck
from ..settings import BadSettingError, Settings
from .answers import Vector, altered, each_vector


@dataclass(frozen=True, slots=True)
class Dimensions:
    """`dimensions`: how many numbers a vector has (default half of them); `at`: the one input it strikes, else all."""

    NAME: ClassVar[str] = "dimensions"
    OP: ClassVar[str | None] = "InvokeModel"
    dimensions: int | None
    at: int | None

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its length."""
        dimensions = settings.whole("dimensions", None)
        if dimensions == 0:
            raise BadSettingError("dimensions: must be 1 or more")
        return cls(dimensions, settings.whole("at", None))

    async def strike(self, call: Struck) -> Response:
        """Return the answer with vectors cut, or filled up with their own numbers from the front."""
        return altered(await call.true_answer(), lambda answer: each_vector(answer, self._resize, at=self.at))

    def _resize(self, vector: Vector) -> Vector:
        size = self.dimensions or max(1, len(vector) // 2)
        return (vector * -(-size // len(vector)))[:size]
