"""Answers that are given again: a request that is sent twice with one idempotency key is made, and charged, once."""

from __future__ import annotations

import re
import zlib
from hashlib import sha256
from typing import Final

import msgspec

from embedrock.errors import BadRequest
from embedrock.faces.http import headers as header
from embedrock.faces.http.messages import Answer, Request
from embedrock.service.bill import Bill
from embedrock.wire import openai

_KEY: Final = re.compile(rb"[!-~]{1,255}")
_MOST_BYTES: Final = 4_000_000  # of an answer that is kept; a larger one is made again, and not charged again


class _Kept(msgspec.Struct, array_like=True):
    headers: list[tuple[bytes, bytes]]
    body: bytes
    status: int = 200


def claim(request: Request, bill: Bill, body: bytes | bytearray) -> None:
    """Tell the bill the request's idempotency key, if it has one. Raises BadRequest when it is not one."""
    key = request.headers.get(header.IDEMPOTENCY_KEY)
    if key is None:
        return
    if not _KEY.fullmatch(key):
        raise BadRequest(
            "'idempotency-key' must be 1 to 255 visible characters.",
            param=header.IDEMPOTENCY_KEY.decode(),
            code="invalid_header_value",
        )
    asked = sha256(request.path.encode("latin-1") + b"\0" + body).digest()
    bill.claim(key.decode(), asked)


def pack(answer: Answer) -> bytes | None:
    """Return an answer as it is kept; None when it is too large for that."""
    body = zlib.compress(b"".join(answer.body.pieces), 1)
    kept = msgspec.msgpack.encode(_Kept(answer.headers, body, answer.status))
    return kept if len(kept) <= _MOST_BYTES else None


def unpack(kept: bytes) -> Answer:
    """Return the answer that `pack` packed."""
    found = msgspec.msgpack.decode(kept, type=_Kept)
    body = zlib.decompress(found.body)
    return Answer(openai.Body(len(body), (body,)), found.headers, found.status)
