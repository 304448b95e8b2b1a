"""Answers that are given again: a request that is sent twice with one idempotency key is made, and charged, once."""

from __future__ import annotations

import asyncio
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
#: Of an answer that is kept, packed and before; a larger one is made again, and not charged again.
_MOST_BYTES: Final = 4_000_000
_MOST_UNPACKED: Final = 8_000_000
_LARGE_BYTES: Final = 32_000  # more is packed and digested in a thread, so that others are answered meanwhile


class _Kept(msgspec.Struct, array_like=True):
    headers: list[tuple[bytes, bytes]]
    body: bytes
    status: int = 200


async def claim(request: Request, bill: Bill, body: bytes | bytearray) -> None:
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
    asked = sha256(request.path.encode("latin-1") + b"\0")
    if len(body) > _LARGE_BYTES:
        await asyncio.to_thread(asked.update, body)
    else:
        asked.update(body)
    bill.claim(key.decode(), asked.digest())


async def pack(answer: Answer) -> bytes | None:
    """Return an answer as it is kept; None when it is too large for that."""
    if answer.body.length > _MOST_UNPACKED:
        return None
    large = answer.body.length > _LARGE_BYTES
    kept = await asyncio.to_thread(_packed, answer) if large else _packed(answer)
    return kept if len(kept) <= _MOST_BYTES else None


async def unpack(kept: bytes) -> Answer:
    """Return the answer that `pack` packed."""
    return await asyncio.to_thread(_unpacked, kept) if len(kept) > _LARGE_BYTES else _unpacked(kept)


def _packed(answer: Answer) -> bytes:
    body = zlib.compress(b"".join(answer.body.pieces), 1)
    return msgspec.msgpack.encode(_Kept(answer.headers, body, answer.status))


def _unpacked(kept: bytes) -> Answer:
    found = msgspec.msgpack.decode(kept, type=_Kept)
    body = zlib.decompress(found.body)
    return Answer(openai.Body(len(body), (body,)), found.headers, found.status)
