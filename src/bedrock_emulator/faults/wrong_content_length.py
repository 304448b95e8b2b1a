"""The head lies about the length of the body, or does not tell it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from ..response import Response, Struck
from ..settings import Settings
from ..transport import Connection

_KINDS = ("too_long", "too_short", "missing", "two", "bad_chunk")
_OFF = 100  # bytes; of a body under 200 bytes, half of it


@dataclass(frozen=True, slots=True)
class WrongContentLength:
    """`kind`: by default `too_long` (the body never comes to its end), else

    `too_short` (the rest of the body follows the answer, and the connection stays open), `missing` (the body ends with
    the connection), `two` (one of the headers is right, the first), `bad_chunk` (chunked, and a size that is none).
    """

    NAME: ClassVar[str] = "wrong_content_length"
    OP: ClassVar[str | None] = None
    kind: str

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its kind."""
        return cls(settings.choice("kind", _KINDS, "too_long"))

    async def strike(self, call: Struck) -> Response:
        """Return the true answer, to be framed wrongly."""
        return replace(await call.true_answer(), deliver=self._deliver)

    async def _deliver(self, answer: Response, connection: Connection) -> None:
        body, size, off = answer.body, len(answer.body), min(_OFF, len(answer.body) // 2)
        status, headers = answer.status, answer.headers
        match self.kind:
            case "too_long":
                await connection.start(status, headers, size + off)
                await connection.body(body, more=True)
                await connection.gone()
            case "too_short":
                await connection.start(status, headers, size - off)
                await connection.body(body[:-off], more=True)
                connection.write(body[-off:])  # in one go with the last bytes of the answer
                await connection.body(b"")
            case "missing":
                connection.write_head(status, [*headers, (b"connection", b"close")])
                connection.write(body)
                await connection.close()
            case "two":
                # The server goes by the first one, and adds it in `start`.
                await connection.start(status, [(b"content-length", b"%d" % size), *headers], size + off)
                await connection.body(body)
            case "bad_chunk":
                connection.write_head(status, [*headers, (b"transfer-encoding", b"chunked")])
                connection.write(b"%x\r\n%b\r\nzz\r\n%b" % (size // 2, body[: size // 2], body[size // 2 :]))
                await connection.close()
