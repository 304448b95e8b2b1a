"""One HTTP answer, as values; and the call that a fault strikes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson

from .errors import AwsError
from .fate import Fate
from .transport import Connection

JSON = (b"content-type", b"application/json")
TOKEN_COUNT = b"x-amzn-bedrock-input-token-count"  # the name of a header

# Puts an answer on the wire in a way of its own.
Delivery: TypeAlias = Callable[["Response", Connection], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Response:
    """Status, headers and body; `tokens` and `items` go to the journal.

    `deliver`: how the answer goes out when not plainly. `status` is 0 when it does not go out at all; `deliver` does
    with the connection what happens instead.
    """

    status: int
    body: bytes
    headers: list[tuple[bytes, bytes]] = field(default_factory=lambda: [JSON])
    tokens: int | None = None
    items: int | None = None
    deliver: Delivery | None = None


class Unanswered(Exception):
    """The call is never answered; raised in place of an answer."""


@dataclass(frozen=True, slots=True)
class Struck:
    """A call that a fault strikes.

    `answer` makes the true answer to a body, the sent one or another, with this call's operation, model and headers.
    It raises AwsError, and Unanswered. `start`: does the same for a StartAsyncInvoke, given what becomes of the call.
    """

    op: str
    model: str | None
    region: str
    body: bytes
    answer: Callable[[bytes], Awaitable[Response]]
    start: Callable[[Fate], Awaitable[Response]] | None = None

    async def true_answer(self) -> Response:
        """Return what the caller would get without the fault. Raises as `answer`."""
        return await self.answer(self.body)

    async def fated(self, fate: Fate) -> Response:
        """Return the true answer, to an asynchronous call that goes a way of its own. Raises as `answer`."""
        assert self.start is not None  # noqa: S101  # the fault is for StartAsyncInvoke
        return await self.start(fate)


def as_json(value: Any, status: int = 200) -> Response:
    """Return a JSON answer."""
    return Response(status, orjson.dumps(value))


def as_error(error: AwsError) -> Response:
    """Return an error in AWS's shape."""
    return Response(error.status, error.body, [JSON, *error.headers])


def unanswered(deliver: Delivery) -> Response:
    """Return the answer that is none, with what happens instead."""
    return Response(0, b"", [], deliver=deliver)


async def hang(_: Response, connection: Connection) -> None:
    """Leave the caller without an answer until it goes."""
    await connection.gone()
