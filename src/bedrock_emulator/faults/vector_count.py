"""The answer has one vector too few or too many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from ..response import Response, Struck
from ..settings import Settings
from .answers import altered, each_list, each_vector


@dataclass(frozen=True, slots=True)
class VectorCount:
    """`change`: `fewer` (default; the last vector is missing) or `more` (the last vector comes twice).

    A body with room for one vector, as Titan's, has an empty one, or a list of two in its place.
    """

    NAME: ClassVar[str] = "vector_count"
    OP: ClassVar[str | None] = "InvokeModel"
    change: str

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its direction."""
        return cls(settings.choice("change", ("fewer", "more"), "fewer"))

    async def strike(self, call: Struck) -> Response:
        """Return the answer with another number of vectors."""
        return altered(await call.true_answer(), self._recount)

    def _recount(self, answer: Any) -> Any:
        fewer = self.change == "fewer"
        changed = each_list(answer, lambda items: items[:-1] if fewer else [*items, items[-1]])
        if changed != answer:
            return changed
        return each_vector(answer, lambda vector: [] if fewer else [vector, vector])
