"""One HTTP answer, as values; and the call that a fault strikes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import orjson

from .errors import AwsError

JSON = (b"content-type", b"application/json")
TOKEN_COUNT = b"x-amzn-bedrock-input-token-count"  # the name of a header

# Where a connection is reset: before the status line, or after so many bytes of the body.
Reset: TypeAlias = Literal["before_headers"] | int


@dataclass(frozen=True, slots=True)
class Response:
    """Status, headers and body; `tokens` and `items` go to the journal, `reset` breaks the connection."""

    status: int
    body: bytes
    headers: list[tuple[bytes, bytes]] = field(default_factory=lambda: [JSON])
    tokens: int | None = None
    items: int | None = None
    reset: Reset | None = None


@dataclass(frozen=True, slots=True)
class Struck:
    """A call that a fault strikes.

    `answer` makes the true answer to a body, the sent one or another, with this call's operation, model and headers.
    It raises AwsError.
    """

    op: str
    model: str | None
    region: str
    body: bytes
    answer: Callable[[bytes], Awaitable[Response]]

    async def true_answer(self) -> Response:
        """Return what the caller would get without the fault. Raises AwsError."""
        return await self.answer(self.body)


def as_json(value: Any, status: int = 200) -> Response:
    """Return a JSON answer."""
    return Response(status, orjson.dumps(value))


def as_error(error: AwsError) -> Response:
    """Return an error in AWS's shape."""
    return Response(error.status, error.body, [JSON, *error.headers])
