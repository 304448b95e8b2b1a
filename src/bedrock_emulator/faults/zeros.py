"""A vector is all zeros."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from ..response import Response, Struck
from ..settings import Settings
from .answers import altered, each_vector


@dataclass(frozen=True, slots=True)
class Zeros:
    """`at`: the one input it strikes, else all."""

    NAME: ClassVar[str] = "zeros"
    OP: ClassVar[str | None] = "InvokeModel"
    at: int | None

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its place."""
        return cls(settings.whole("at", None))

    async def strike(self, call: Struck) -> Response:
        """Return the answer with zeros, floats where floats were."""
        return altered(
            await call.true_answer(),
            lambda answer: each_vector(answer, lambda vector: [type(item)() for item in vector], at=self.at),
        )
