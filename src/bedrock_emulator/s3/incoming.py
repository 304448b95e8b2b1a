"""The body of a request, from the wire into a file, and the checks on it.

SDKs wrap a body into chunks of their own (`aws-chunked`) to sign it piece by piece or to add a checksum at the end. The
signatures of chunks are not checked, checksums are: MD5, SHA-256 and CRC32; others are taken as they are.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping

from ..transport import Receive
from .errors import S3Error
from .store import Blob, Store

_HEX_SHA256 = re.compile("[0-9a-f]{64}")
_LONGEST_LINE = 16 * 1024


class ClientGone(Exception):
    """The connection ended before the body did."""


class Unwrapper:
    """Takes `aws-chunked` apart: `size[;chunk-signature=...]`, data, and so on; then lines of trailers."""

    def __init__(self) -> None:
        self.trailers: dict[str, str] = {}
        self.ended = False  # the last chunk has come
        self._buffer = b""
        self._left = 0  # bytes of the chunk that are to come, its line break included

    def feed(self, data: bytes) -> bytes:
        """Return the content in some bytes of the body. Raises S3Error."""
        self._buffer += data
        found = []
        while self._buffer:
            if self._left:
                piece, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
                found.append(piece[: max(0, self._left - 2)])
                self._left -= len(piece)
                continue
            line, end, rest = self._buffer.partition(b"\r\n")
            if not end:
                if len(line) > _LONGEST_LINE:
                    raise S3Error("InvalidArgument")
                break
            self._buffer = rest
            self._line(line)
        return b"".join(found)

    def finish(self) -> None:
        """Raise S3Error unless the last chunk has come."""
        if not self.ended:
            raise S3Error("IncompleteBody")

    def _line(self, line: bytes) -> None:
        if self.ended:
            name, _, value = line.decode("latin-1").partition(":")
            if name:
                self.trailers[name.strip().lower()] = value.strip()
            return
        size = line.partition(b";")[0]
        if not re.fullmatch(rb"[0-9a-fA-F]{1,8}", size):
            raise S3Error("InvalidArgument", message="The body is not aws-chunked.")
        self._left = int(size, 16)
        self.ended = self._left == 0
        self._left += 0 if self.ended else 2


async def receive_blob(store: Store, headers: Mapping[str, str], receive: Receive) -> Blob:
    """Return the content of a body, of whatever size. Raises S3Error and ClientGone, and leaves nothing then."""
    wrapped = headers.get("x-amz-content-sha256", "").startswith("STREAMING-") or "aws-chunked" in headers.get(
        "content-encoding", ""
    )
    unwrapper = Unwrapper() if wrapped else None
    writer = store.writer()
    try:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            data = message.get("body", b"")
            writer.write(unwrapper.feed(data) if unwrapper else data)
            if not message.get("more_body", False):
                break
        if unwrapper:
            unwrapper.finish()
        blob = writer.finish()
        _check(blob, {**headers, **(unwrapper.trailers if unwrapper else {})})
    except BaseException:
        writer.discard()
        raise
    return blob


def _check(blob: Blob, headers: Mapping[str, str]) -> None:
    if (length := headers.get("x-amz-decoded-content-length")) and length != str(blob.size):
        raise S3Error("IncompleteBody")
    sha256 = headers.get("x-amz-content-sha256", "")
    if _HEX_SHA256.fullmatch(sha256) and sha256 != blob.sha256.hex():
        raise S3Error("XAmzContentSHA256Mismatch")
    if (sent := headers.get("content-md5")) is not None and _decoded(sent) != blob.md5:
        raise S3Error("BadDigest")
    for name, value in blob.checksums.items():
        if headers.get(f"x-amz-checksum-{name}", value) != value:
            raise S3Error(
                "BadDigest", message=f"The {name.upper()} you specified did not match the calculated checksum."
            )


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise S3Error("InvalidDigest", message="The Content-MD5 you specified was invalid") from None
