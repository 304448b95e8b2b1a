"""Buckets, objects and uploads in parts. Contents are files in a directory of their own, gone with the process."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
import zlib
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import md5, sha256
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

from ..control_plane import ACCOUNT
from ..errors import validation
from ..models.files import File, Objects, missing_bucket

DEFAULT_BUCKET = "embedrock-emulator"
_HEAD = 64 * 1024  # bytes of a content that are kept for the journal


@dataclass(frozen=True, slots=True)
class Blob:
    """A content in a file. `checksums`: base64, of the algorithms that were computed; `head`: how it begins."""

    path: Path
    size: int
    md5: bytes
    sha256: bytes
    checksums: Mapping[str, str]
    head: bytes

    def remove(self) -> None:
        """Remove the file; whoever has it open can read on."""
        self.path.unlink(missing_ok=True)


class BlobWriter:
    """A content on its way into a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._md5, self._sha256, self._crc32 = md5(usedforsecurity=False), sha256(), 0
        self._head = b""
        self._size = 0

    def write(self, data: bytes) -> None:
        """Append."""
        if self._size < _HEAD:
            self._head += data[: _HEAD - self._size]
        self._size += len(data)
        self._md5.update(data)
        self._sha256.update(data)
        self._crc32 = zlib.crc32(data, self._crc32)
        self._file.write(data)

    def finish(self) -> Blob:
        """Return the whole content."""
        self._file.close()
        checksums = {
            "crc32": b64encode(self._crc32.to_bytes(4, "big")).decode(),
            "sha256": b64encode(self._sha256.digest()).decode(),
        }
        return Blob(self._path, self._size, self._md5.digest(), self._sha256.digest(), checksums, self._head)

    def discard(self) -> None:
        """Leave nothing."""
        self._file.close()
        self._path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class S3Object:
    """`headers`: those that come back with it, such as its type and its metadata."""

    blob: Blob
    etag: str
    headers: Mapping[str, str]
    modified: datetime

    @classmethod
    def of(cls, blob: Blob, headers: Mapping[str, str], etag: str = "") -> S3Object:
        """Return the object of a content, as of now."""
        return cls(blob, f'"{etag or blob.md5.hex()}"', headers, datetime.now(UTC).replace(microsecond=0))


@dataclass(slots=True)
class Upload:
    """An upload in parts, under way; `parts` by their numbers."""

    upload_id: str
    key: str
    headers: Mapping[str, str]
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    parts: dict[int, Blob] = field(default_factory=dict)


@dataclass(slots=True)
class Bucket:
    """`region`: None for one that is in whatever region asks."""

    name: str
    region: str | None
    owner: str = ACCOUNT
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    objects: dict[str, S3Object] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)

    def put(self, key: str, found: S3Object) -> None:
        """Add an object in place of what was there."""
        self.remove(key)
        self.objects[key] = found

    def remove(self, key: str) -> None:
        """Remove an object, when there is one."""
        if old := self.objects.pop(key, None):
            old.blob.remove()

    def end(self, upload_id: str) -> None:
        """Remove an upload and its parts."""
        for part in self.uploads.pop(upload_id).parts.values():
            part.remove()

    def clear(self) -> None:
        """Remove everything."""
        for key in list(self.objects):
            self.remove(key)
        for upload_id in list(self.uploads):
            self.end(upload_id)

    def as_json(self) -> dict[str, Any]:
        """Return what is in it."""
        return {
            "name": self.name,
            "region": self.region,
            "owner": self.owner,
            "objects": {key: found.blob.size for key, found in sorted(self.objects.items())},
            "uploads": [upload.key for upload in self.uploads.values()],
        }


def open_objects(store: Store, region: str) -> Objects:
    """Return a model's way to what is in S3, from a region.

    It raises AwsError for a bucket of another region or owner, and for what is not there; the words are ours.
    """

    def find(uri: str, owner: str | None) -> File:
        name, _, key = uri.removeprefix("s3://").partition("/")
        bucket = store.buckets.get(name)
        if bucket is None:
            raise missing_bucket()
        if bucket.region not in (None, region):
            raise validation("The provided S3 bucket is in another region.")
        if owner not in (None, bucket.owner):
            raise validation("The provided S3 bucket belongs to another account.")
        if key not in bucket.objects:
            raise validation("The provided S3 object does not exist.")
        blob = bucket.objects[key].blob
        return File(blob.size, blob.sha256.hex(), lambda: blob.path.open("rb"))

    return find


class Store:
    """All buckets. One is always there, in every region."""

    def __init__(self) -> None:
        self.buckets = {DEFAULT_BUCKET: Bucket(DEFAULT_BUCKET, None)}
        self._directory: Path | None = None
        self._numbers = count(1)

    def writer(self) -> BlobWriter:
        """Return a way to write a new content."""
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="bedrock-emulator-"))
            weakref.finalize(self, shutil.rmtree, self._directory, ignore_errors=True)
        return BlobWriter(self._directory / str(next(self._numbers)))

    def keep(self, data: bytes) -> Blob:
        """Return a content that is in memory as one in a file."""
        writer = self.writer()
        writer.write(data)
        return writer.finish()

    def join(self, blobs: Iterable[Blob]) -> Blob:
        """Return one content for several, one after the other; they stay."""
        writer = self.writer()
        for blob in blobs:
            with blob.path.open("rb") as file:
                while data := file.read(1 << 20):
                    writer.write(data)
        return writer.finish()

    def link(self, blob: Blob) -> Blob:
        """Return a second content that is the same."""
        path = blob.path.with_name(str(next(self._numbers)))
        os.link(blob.path, path)
        return Blob(path, blob.size, blob.md5, blob.sha256, blob.checksums, blob.head)

    def create(self, name: str, region: str | None, owner: str = ACCOUNT) -> Bucket:
        """Add a bucket."""
        self.buckets[name] = Bucket(name, region, owner)
        return self.buckets[name]

    def clear(self) -> None:
        """Remove everything but the one bucket, which is emptied."""
        for bucket in self.buckets.values():
            bucket.clear()
        self.buckets = {DEFAULT_BUCKET: self.buckets[DEFAULT_BUCKET]}


def new_upload(key: str, headers: Mapping[str, str]) -> Upload:
    """Return an upload without parts."""
    return Upload(uuid4().hex, key, headers)
