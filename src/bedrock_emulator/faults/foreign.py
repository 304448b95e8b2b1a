"""An input gets the vector of another text, as if answers of two callers had been mixed up."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import orjson

from .. import json_body
from ..response import Response, Struck
from ..settings import Settings
from .answers import Vector, altered, each_vector


@dataclass(frozen=True, slots=True)
class Foreign:
    """`text`: the other text; `at`: the one input it strikes, else all.

    The other vector is the true one of the same call with that text. A call without a text, say of an image, gets its
    own vectors moved by one place.
    """

    NAME: ClassVar[str] = "foreign"
    OP: ClassVar[str | None] = "InvokeModel"
    text: str
    at: int | None

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its text."""
        text = settings.text_or_none("text") or "A text that somebody else had embedded."
        return cls(text, settings.whole("at", None))

    async def strike(self, call: Struck) -> Response:
        """Return the answer with other vectors of the right length."""
        body = json_body.parse(call.body)
        other = _reworded(body, self.text)
        if other == body:
            return altered(
                await call.true_answer(),
                lambda answer: each_vector(answer, lambda vector: [*vector[1:], vector[0]], at=self.at),
            )
        answer, theirs = await asyncio.gather(call.true_answer(), call.answer(orjson.dumps(other)))
        vectors: list[Vector] = []
        each_vector(orjson.loads(theirs.body), vectors.append, at=self.at)
        follow = iter(vectors)  # both answers have the same shape, so they are walked in the same order
        return altered(answer, lambda parsed: each_vector(parsed, lambda _: next(follow), at=self.at))


def _reworded(value: Any, text: str, *, key: str = "") -> Any:
    """Return a request with all its texts replaced; `key` is the member that `value` stands in."""
    if isinstance(value, dict):
        return {name: _reworded(item, text, key=name) for name, item in value.items()}
    if isinstance(value, list):
        return [text if key == json_body.TEXT_LIST else _reworded(item, text) for item in value]
    return text if key in json_body.TEXT_MEMBERS and isinstance(value, str) else value
