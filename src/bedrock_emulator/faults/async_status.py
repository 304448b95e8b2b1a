"""An asynchronous call is not told of as it is: with another status, or as if it did not exist."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import orjson

from ..errors import AwsError
from ..response import Response, Struck, as_error
from ..settings import Settings

_NOT_FOUND = "NotFound"
_OF_THE_END = ("endTime", "failureMessage")


@dataclass(frozen=True, slots=True)
class AsyncStatus:
    """`status`: any text, `InProgress` by default, also when the call has ended; `NotFound` gives a 404."""

    NAME: ClassVar[str] = "async_status"
    OP: ClassVar[str | None] = "GetAsyncInvoke"
    status: str

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its status."""
        return cls(settings.text_or_none("status") or "InProgress")

    async def strike(self, call: Struck) -> Response:
        """Return the true answer with another status, or the 404, which the API does not declare."""
        if self.status == _NOT_FOUND:
            return as_error(AwsError(404, "ResourceNotFoundException", "The invocation does not exist."))
        answer = await call.true_answer()
        told = {name: value for name, value in orjson.loads(answer.body).items() if name not in _OF_THE_END}
        return replace(answer, body=orjson.dumps({**told, "status": self.status}))
