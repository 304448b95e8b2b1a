"""The endpoint of a container's credentials answers nonsense. For errors and silence there are other faults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import orjson

from ..response import Response, Struck, as_json
from ..settings import Settings

_PAST = "2020-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class ContainerCredentials:
    """`kind`: `empty` (default; an empty object) or `past` (credentials that ended long ago)."""

    NAME: ClassVar[str] = "container_credentials"
    OP: ClassVar[str | None] = "GetContainerCredentials"
    kind: str

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its kind."""
        return cls(settings.choice("kind", ("empty", "past"), "empty"))

    async def strike(self, call: Struck) -> Response:
        """Return the nonsense."""
        if self.kind == "empty":
            return as_json({})
        return as_json({**orjson.loads((await call.true_answer()).body), "Expiration": _PAST})
