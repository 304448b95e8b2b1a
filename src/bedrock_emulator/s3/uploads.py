"""Uploads in parts."""

from __future__ import annotations

import asyncio
from hashlib import md5

from ..response import Response
from .ask import Ask, as_xml, bare
from .errors import S3Error
from .objects import kept_headers
from .store import Blob, S3Object, Upload, new_upload
from .xml import nest, parse, tag, texts, when

_MIN_PART = 5 * 1024 * 1024  # of all but the last
_MAX_PARTS = 10_000
_MOST = 1000


async def create(ask: Ask) -> Response:
    """Answer CreateMultipartUpload."""
    upload = new_upload(ask.key, kept_headers(ask.headers))
    ask.bucket.uploads[upload.upload_id] = upload
    return as_xml(
        "InitiateMultipartUploadResult",
        tag("Bucket", ask.bucket_name) + tag("Key", ask.key) + tag("UploadId", upload.upload_id),
    )


async def put_part(ask: Ask) -> Response:
    """Answer UploadPart."""
    number = ask.number("partNumber", 0, most=_MAX_PARTS + 1)
    if not 1 <= number <= _MAX_PARTS:
        raise S3Error("InvalidArgument", message="Part number must be an integer between 1 and 10000, inclusive")
    _ = ask.upload  # refused before the body is read
    blob = await ask.receive()
    try:
        upload = ask.upload  # it may have ended while the part came
    except S3Error:
        blob.remove()
        raise
    if old := upload.parts.pop(number, None):
        old.remove()
    upload.parts[number] = blob
    return bare(200, [(b"etag", _etag(blob).encode()), (b"x-amz-checksum-crc32", blob.checksums["crc32"].encode())])


async def complete(ask: Ask) -> Response:
    """Answer CompleteMultipartUpload."""
    try:
        root = parse(await ask.small_body())
        listed = [(int(next(texts(part, "PartNumber"))), next(texts(part, "ETag"))) for part in root.findall("Part")]
    except (ValueError, StopIteration):
        raise S3Error("MalformedXML") from None
    parts = _chosen(ask.upload, listed)
    blob = await asyncio.to_thread(ask.store.join, parts)
    try:
        upload = ask.upload  # it may have been aborted meanwhile
    except S3Error:
        blob.remove()
        raise
    etag = f"{md5(b''.join(part.md5 for part in parts), usedforsecurity=False).hexdigest()}-{len(parts)}"
    found = S3Object.of(blob, upload.headers, etag)
    ask.bucket.put(ask.key, found)
    ask.bucket.end(upload.upload_id)
    shown = tag("Bucket", ask.bucket_name) + tag("Key", ask.key) + tag("ETag", found.etag)
    return as_xml("CompleteMultipartUploadResult", tag("Location", f"/{ask.bucket_name}/{ask.key}") + shown)


async def abort(ask: Ask) -> Response:
    """Answer AbortMultipartUpload."""
    ask.bucket.end(ask.upload.upload_id)
    return bare(204)


async def list_uploads(ask: Ask) -> Response:
    """Answer ListMultipartUploads."""
    prefix, most = ask.query.get("prefix", ""), ask.number("max-uploads", _MOST, most=_MOST)
    after = ask.query.get("key-marker", ""), ask.query.get("upload-id-marker", "")
    found = sorted(
        (upload for upload in ask.bucket.uploads.values() if upload.key.startswith(prefix)),
        key=lambda upload: (upload.key, upload.upload_id),
    )
    # Without an upload id the marker stands for all uploads of its key.
    left = [
        upload for upload in found if ((upload.key, upload.upload_id) > after if after[1] else upload.key > after[0])
    ]
    page, more = left[:most], len(left) > most
    shown = [tag("Bucket", ask.bucket_name), tag("Prefix", prefix), tag("MaxUploads", most), tag("IsTruncated", more)]
    if more and page:
        shown += [tag("NextKeyMarker", page[-1].key), tag("NextUploadIdMarker", page[-1].upload_id)]
    shown += [
        nest(
            "Upload",
            (
                tag("Key", upload.key),
                tag("UploadId", upload.upload_id),
                tag("StorageClass", "STANDARD"),
                tag("Initiated", when(upload.started)),
            ),
        )
        for upload in page
    ]
    return as_xml("ListMultipartUploadsResult", "".join(shown))


async def list_parts(ask: Ask) -> Response:
    """Answer ListParts."""
    most, after = ask.number("max-parts", _MOST, most=_MOST), ask.number("part-number-marker", 0, most=_MAX_PARTS)
    left = [(number, blob) for number, blob in sorted(ask.upload.parts.items()) if number > after]
    page, more = left[:most], len(left) > most
    shown = [
        tag("Bucket", ask.bucket_name),
        tag("Key", ask.key),
        tag("UploadId", ask.upload.upload_id),
        tag("MaxParts", most),
        tag("IsTruncated", more),
    ]
    if more and page:
        shown.append(tag("NextPartNumberMarker", page[-1][0]))
    shown += [
        nest("Part", (tag("PartNumber", number), tag("ETag", _etag(blob)), tag("Size", blob.size)))
        for number, blob in page
    ]
    return as_xml("ListPartsResult", "".join(shown))


def _chosen(upload: Upload, listed: list[tuple[int, str]]) -> list[Blob]:
    """Return the parts that a caller lists. Raises S3Error."""
    numbers = [number for number, _ in listed]
    if not numbers:
        raise S3Error("MalformedXML")
    if numbers != sorted(set(numbers)):
        raise S3Error("InvalidPartOrder")
    for number, etag in listed:
        if number not in upload.parts or etag.strip('"') != _etag(upload.parts[number]).strip('"'):
            raise S3Error("InvalidPart", members={"UploadId": upload.upload_id, "PartNumber": str(number)})
    parts = [upload.parts[number] for number in numbers]
    if any(part.size < _MIN_PART for part in parts[:-1]):
        raise S3Error("EntityTooSmall")
    return parts


def _etag(part: Blob) -> str:
    return f'"{part.md5.hex()}"'
