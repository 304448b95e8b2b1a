"""What S3 says of an object, or gives of it, is not what was put there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from ..response import Response, Struck
from ..settings import Settings
from ..transport import Connection

_WRONG_ETAG = b'"00000000000000000000000000000000"'


@dataclass(frozen=True, slots=True)
class S3Corrupt:
    """`of`: `content` (default; the first byte of a download differs) or `etag` (of an upload or download)."""

    NAME: ClassVar[str] = "s3_corrupt"
    OP: ClassVar[str | None] = None
    of: str

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with what is wrong."""
        return cls(settings.choice("of", ("content", "etag"), "content"))

    async def strike(self, call: Struck) -> Response:
        """Return the answer with a wrong header, or a wrong byte."""
        answer = await call.true_answer()
        if self.of == "etag":
            headers = [(name, _WRONG_ETAG if name == b"etag" else value) for name, value in answer.headers]
            return replace(answer, headers=headers)
        true_delivery = answer.deliver
        if true_delivery is None:
            return answer

        async def deliver(response: Response, connection: Connection) -> None:
            await true_delivery(response, connection.altered(_wrong))

        return replace(answer, deliver=deliver)


def _wrong(piece: bytes, at: int, length: int) -> bytes:  # noqa: ARG001
    return bytes((piece[0] ^ 0xFF,)) + piece[1:] if piece and at == 0 else piece
