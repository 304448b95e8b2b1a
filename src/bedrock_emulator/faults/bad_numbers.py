"""A vector holds what is no finite number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self
from uuid import uuid4

from ..response import Response, Struck
from ..settings import Settings
from .answers import Vector, altered, each_vector

_TOKENS = {
    "nan": b"NaN",
    "infinity": b"-Infinity",
    "overflow": b"1e400",
    "null": b"null",
    "string": b'"0.5"',
}


@dataclass(frozen=True, slots=True)
class BadNumbers:
    """`kind`: `nan` (default), `infinity` (negative), `overflow` (`1e400`), `null` or `string` (`"0.5"`).

    It stands in the middle of the vector. `at`: the one input it strikes, else all.
    """

    NAME: ClassVar[str] = "bad_numbers"
    OP: ClassVar[str | None] = "InvokeModel"
    kind: str
    at: int | None

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its kind."""
        return cls(settings.choice("kind", tuple(_TOKENS), "nan"), settings.whole("at", None))

    async def strike(self, call: Struck) -> Response:
        """Return the answer with bad numbers."""
        mark = uuid4().hex  # replaced in the text, since a JSON printer refuses some of the tokens

        def spoil(vector: Vector) -> list[Any]:
            middle = len(vector) // 2
            return [*vector[:middle], mark, *vector[middle + 1 :]]

        answer = altered(await call.true_answer(), lambda parsed: each_vector(parsed, spoil, at=self.at))
        return replace(answer, body=answer.body.replace(b'"%b"' % mark.encode(), _TOKENS[self.kind]))
