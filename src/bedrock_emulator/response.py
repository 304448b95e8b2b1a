"""One HTTP answer, as values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import orjson

from .errors import AwsError

JSON = (b"content-type", b"application/json")

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


#: Makes the true answer to a call.
MakeAnswer: TypeAlias = Callable[[], Awaitable[Response]]


def as_json(value: Any, status: int = 200) -> Response:
    """Return a JSON answer."""
    return Response(status, orjson.dumps(value))


def as_error(error: AwsError) -> Response:
    """Return an error in AWS's shape."""
    return Response(error.status, error.body, [JSON, *error.headers])
