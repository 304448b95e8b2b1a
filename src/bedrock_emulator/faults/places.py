"""Where in its body an answer breaks off."""

from __future__ import annotations

from ..response import Response
from ..transport import Connection

IN_BODY = ("first_byte", "mid_body", "last_byte")


async def send_until(place: str, answer: Response, connection: Connection) -> None:
    """Send an answer's head, which tells the length of the whole body, and the body up to a place of `IN_BODY`."""
    size = len(answer.body)
    sent = {"first_byte": 1, "mid_body": size // 2, "last_byte": size - 1}[place]
    await connection.start(answer.status, answer.headers, size)
    await connection.body(answer.body[:sent], more=True)
