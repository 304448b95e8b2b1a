"""The vectors of a call come in another order than its inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from ..response import Response, Struck
from ..settings import Settings
from .answers import altered, each_list


@dataclass(frozen=True, slots=True)
class Permuted:
    """Has no settings of its own. An answer with one vector stays as it is."""

    NAME: ClassVar[str] = "permuted"
    OP: ClassVar[str | None] = "InvokeModel"

    @classmethod
    def read(cls, settings: Settings) -> Self:  # noqa: ARG003
        """Return the fault."""
        return cls()

    async def strike(self, call: Struck) -> Response:
        """Return the answer with its first vector last; what else it says of the inputs keeps its order."""
        return altered(await call.true_answer(), lambda answer: each_list(answer, lambda items: [*items[1:], items[0]]))
