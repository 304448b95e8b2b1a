"""The body is compressed although nobody asked, and may be a bomb."""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from ..response import Response, Struck
from ..settings import BadSettingError, Settings

_MOST_MB = 1024
_MB = 1_000_000
_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # of a gzip file, with nothing in it but the method
_END = b"\x03\0"  # the last block of deflate, empty


@dataclass(frozen=True, slots=True)
class GzipUnasked:
    """`bomb_mb`: the body is so many million spaces instead, 1 to 1,024, in about a thousandth of that."""

    NAME: ClassVar[str] = "gzip_unasked"
    OP: ClassVar[str | None] = None
    bomb: bytes | None

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the fault with its bomb."""
        megabytes = settings.whole("bomb_mb", None)
        if megabytes is None:
            return cls(None)
        if not 1 <= megabytes <= _MOST_MB:
            raise BadSettingError(f"bomb_mb: must be from 1 to {_MOST_MB}")
        return cls(bomb(megabytes))

    async def strike(self, call: Struck) -> Response:
        """Return the answer compressed."""
        answer = await call.true_answer()
        body = self.bomb or gzip.compress(answer.body, mtime=0)
        return replace(answer, body=body, headers=[*answer.headers, (b"content-encoding", b"gzip")])


def bomb(megabytes: int) -> bytes:
    """Return a gzip file of so many million spaces, right to its checksum, from one block that is repeated."""
    spaces = b" " * _MB
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = deflate.compress(spaces) + deflate.flush(zlib.Z_FULL_FLUSH)  # refers to nothing before it
    checksum = 0
    for _ in range(megabytes):
        checksum = zlib.crc32(spaces, checksum)
    return b"".join((_HEAD, block * megabytes, _END, struct.pack("<II", checksum, megabytes * _MB)))
