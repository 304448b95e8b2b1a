"""The token count is missing or wrong, in the header, in the body, or in both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from ..response import TOKEN_COUNT, Response, Struck
from ..settings import Settings
from .answers import altered

_MEMBER = "inputTextTokenCount"  # Titan's; no other family counts in the body
_VALUES: dict[str, int | str | None] = {"absent": None, "zero": 0, "negative": -1, "huge": 10**12, "string": "many"}


@dataclass(frozen=True, slots=True)
class Tokens:
    """`value`: `absent` (default), `zero`, `negative`, `huge` (10^12) or `string`; `where`: `both`, `header`, `body`.

    A count that the model does not give is not added. The journal keeps the true one.
    """

    NAME: ClassVar[str] = "tokens"
    OP: ClassVar[str | None] = "InvokeModel"
    value: str
    where: str

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its value and place."""
        return cls(
            settings.choice("value", tuple(_VALUES), "absent"),
            settings.choice("where", ("both", "header", "body"), "both"),
        )

    async def strike(self, call: Struck) -> Response:
        """Return the answer with another count."""
        answer, count = await call.true_answer(), _VALUES[self.value]
        if self.where != "header":
            answer = altered(answer, lambda parsed: _with(parsed, count))
        if self.where != "body":
            headers = [
                (name, value if name != TOKEN_COUNT else str(count).encode())
                for name, value in answer.headers
                if name != TOKEN_COUNT or count is not None
            ]
            answer = replace(answer, headers=headers)
        return answer


def _with(answer: Any, count: int | str | None) -> Any:
    if _MEMBER not in answer:
        return answer
    if count is None:
        return {key: value for key, value in answer.items() if key != _MEMBER}
    return {**answer, _MEMBER: count}
