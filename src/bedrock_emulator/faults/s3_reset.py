"""The connection to S3 is reset: in an upload, after it, or in a download."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from ..response import Response, Struck, unanswered
from ..settings import Settings
from ..transport import Connection

_PLACES = ("mid_upload", "done", "mid_download")


@dataclass(frozen=True, slots=True)
class S3Reset:
    """`at`: `mid_upload` (default; when the first bytes of the body have come), `done` (the work is done, and nobody
    hears of it) or `mid_download` (after half of the answer)."""

    NAME: ClassVar[str] = "s3_reset"
    OP: ClassVar[str | None] = None
    at: str

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its place."""
        return cls(settings.choice("at", _PLACES, _PLACES[0]))

    async def strike(self, call: Struck) -> Response:
        """Return an answer that breaks off, or none."""
        if self.at == "mid_upload":
            return unanswered(_reset_in_body)
        answer = await call.true_answer()
        if self.at == "done":
            return unanswered(_reset)
        true_delivery = answer.deliver

        async def deliver(response: Response, connection: Connection) -> None:
            half = connection.altered(_first_half)
            if true_delivery:
                await true_delivery(response, half)
            else:
                await half.send(response.status, response.headers, response.body)
            await connection.reset()

        return replace(answer, deliver=deliver)


def _first_half(piece: bytes, at: int, length: int) -> bytes | None:
    return piece[: max(0, length // 2 - at)] or None


async def _reset_in_body(_: Response, connection: Connection) -> None:
    await connection.receive()
    await connection.reset()


async def _reset(_: Response, connection: Connection) -> None:
    await connection.reset()
