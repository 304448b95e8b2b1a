"""Operations on objects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import format_datetime
from functools import partial
from typing import BinaryIO
from urllib.parse import unquote

from ..response import Response
from ..transport import Connection
from .ask import Ask, as_xml, bare
from .errors import S3Error
from .store import S3Object
from .xml import nest, parse, tag, texts, when

_PIECE = 256 * 1024
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
_KEPT = ("cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires")
_MOST_DELETED = 1000


async def put(ask: Ask) -> Response:
    """Answer PutObject."""
    blob = await ask.receive()
    try:
        _check_old(ask, ask.bucket.objects.get(ask.key))
    except S3Error:
        blob.remove()
        raise
    found = S3Object.of(blob, kept_headers(ask.headers))
    ask.bucket.put(ask.key, found)
    return bare(200, [*_identity(found), *checksum(found)])


async def get(ask: Ask) -> Response:
    """Answer GetObject, or a range of it."""
    found = _find(ask)
    start, end, ranged = _range(ask.headers.get("range"), found.blob.size)
    headers = _described(ask, found)
    if ranged:
        headers.append((b"content-range", b"bytes %d-%d/%d" % (start, end - 1, found.blob.size)))
    elif ask.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED":
        headers += checksum(found)
    file = found.blob.path.open("rb")  # now, since it may be replaced before it is sent
    return Response(206 if ranged else 200, b"", headers, deliver=partial(_send, file, start, end))


async def head(ask: Ask) -> Response:
    """Answer HeadObject."""
    found = _find(ask)
    headers = _described(ask, found) + checksum(found)
    return Response(200, b"", headers, deliver=partial(_send_head, found.blob.size))


async def delete(ask: Ask) -> Response:
    """Answer DeleteObject, which there need not be."""
    ask.bucket.remove(ask.key)
    return bare(204)


async def delete_many(ask: Ask) -> Response:
    """Answer DeleteObjects."""
    try:
        root = parse(await ask.small_body())
    except ValueError:
        raise S3Error("MalformedXML") from None
    keys = [key for entry in root.findall("Object") for key in texts(entry, "Key")]
    if not 0 < len(keys) <= _MOST_DELETED:
        raise S3Error("MalformedXML")
    for key in keys:
        ask.bucket.remove(key)
    quiet = next(texts(root, "Quiet"), "") == "true"
    return as_xml("DeleteResult", "" if quiet else "".join(nest("Deleted", (tag("Key", key),)) for key in keys))


async def copy(ask: Ask) -> Response:
    """Answer CopyObject."""
    name, _, key = unquote(ask.headers["x-amz-copy-source"]).removeprefix("/").partition("/")
    bucket = ask.store.buckets.get(name)
    if bucket is None:
        raise S3Error("NoSuchBucket", members={"BucketName": name})
    if key not in bucket.objects:
        raise S3Error("NoSuchKey", members={"Key": key})
    old = bucket.objects[key]
    replaced = ask.headers.get("x-amz-metadata-directive") == "REPLACE"
    blob = ask.store.link(old.blob)
    found = S3Object.of(blob, kept_headers(ask.headers) if replaced else old.headers, old.etag.strip('"'))
    ask.bucket.put(ask.key, found)
    return as_xml("CopyObjectResult", tag("LastModified", when(found.modified)) + tag("ETag", found.etag))


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of an upload that come back with the object."""
    kept = {name: value for name, value in headers.items() if name in _KEPT or name.startswith("x-amz-meta-")}
    codings = [part.strip() for part in kept.pop("content-encoding", "").split(",")]
    if coding := ",".join(part for part in codings if part and part != "aws-chunked"):
        kept["content-encoding"] = coding
    return {"content-type": "binary/octet-stream", **kept}


def checksum(found: S3Object) -> list[tuple[bytes, bytes]]:
    """Return the headers of the checksum that this S3 has of every object it received."""
    crc32 = found.blob.checksums.get("crc32")
    return [(b"x-amz-checksum-crc32", crc32.encode()), (b"x-amz-checksum-type", b"FULL_OBJECT")] if crc32 else []


def _find(ask: Ask) -> S3Object:
    """Return the object, if it is the one that the caller means. Raises S3Error."""
    found = ask.bucket.objects.get(ask.key)
    if found is None:
        raise S3Error("NoSuchKey", members={"Key": ask.key})
    wanted, known = ask.headers.get("if-match"), ask.headers.get("if-none-match")
    if wanted is not None and not _matches(wanted, found):
        raise S3Error("PreconditionFailed", members={"Condition": "If-Match"})
    if known is not None and _matches(known, found):
        raise S3Error("NotModified", status=304, headers=_identity(found))
    return found


def _check_old(ask: Ask, old: S3Object | None) -> None:
    """Raise S3Error unless what is to be replaced is what the caller means."""
    wanted = ask.headers.get("if-match")
    if ask.headers.get("if-none-match") == "*" and old is not None:
        raise S3Error("PreconditionFailed", members={"Condition": "If-None-Match"})
    if wanted is not None and old is None:
        raise S3Error("NoSuchKey", members={"Key": ask.key})
    if wanted is not None and old is not None and not _matches(wanted, old):
        raise S3Error("PreconditionFailed", members={"Condition": "If-Match"})


def _matches(condition: str, found: S3Object) -> bool:
    tags = {part.strip().strip('"') for part in condition.split(",")}
    return "*" in tags or found.etag.strip('"') in tags


def _range(header: str | None, size: int) -> tuple[int, int, bool]:
    """Return where a range begins and ends, and whether there is one; what is no range is not looked at."""
    match = _RANGE.fullmatch(header or "")
    if not match or match.groups() == ("", ""):
        return 0, size, False
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1 if last else size)
    if start >= end:
        raise S3Error("InvalidRange", members={"RangeRequested": header or "", "ActualObjectSize": str(size)})
    return start, end, True


def _identity(found: S3Object) -> list[tuple[bytes, bytes]]:
    return [(b"etag", found.etag.encode())]


def _described(ask: Ask, found: S3Object) -> list[tuple[bytes, bytes]]:
    sent = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in found.headers.items()]
    overridden = {
        name.removeprefix("response-"): value
        for name, value in ask.query.items()
        if name.removeprefix("response-") in _KEPT and name.startswith("response-")
    }
    sent = [(name, overridden.pop(name.decode(), value.decode("latin-1")).encode("latin-1")) for name, value in sent]
    sent += [(name.encode(), value.encode("latin-1", "replace")) for name, value in overridden.items()]
    modified = format_datetime(found.modified, usegmt=True).encode()
    return [*sent, *_identity(found), (b"last-modified", modified), (b"accept-ranges", b"bytes")]


async def _send(file: BinaryIO, start: int, end: int, response: Response, connection: Connection) -> None:
    """Send a part of a file."""
    with file:
        file.seek(start)
        await connection.start(response.status, response.headers, end - start)
        while start < end and (data := file.read(min(_PIECE, end - start))):
            start += len(data)
            await connection.body(data, more=True)
        await connection.body(b"")


async def _send_head(size: int, response: Response, connection: Connection) -> None:
    await connection.start(response.status, response.headers, size)
    await connection.body(b"")
