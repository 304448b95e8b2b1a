"""One request to S3: which operation it is, and what it brings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from ..response import Response
from ..table import Names
from ..transport import Receive
from .errors import S3Error
from .incoming import receive_blob
from .store import Blob, Bucket, Store, Upload
from .xml import document

XML = (b"content-type", b"application/xml")
UNKNOWN = "UnknownOperation"
_MAX_XML = 2 * 1024 * 1024

_OPERATIONS: Mapping[tuple[str, str, str], str] = {
    ("GET", "service", ""): "ListBuckets",
    ("PUT", "bucket", ""): "CreateBucket",
    ("HEAD", "bucket", ""): "HeadBucket",
    ("DELETE", "bucket", ""): "DeleteBucket",
    ("GET", "bucket", "location"): "GetBucketLocation",
    ("GET", "bucket", "list-type"): "ListObjectsV2",
    ("GET", "bucket", ""): "ListObjects",
    ("GET", "bucket", "uploads"): "ListMultipartUploads",
    ("POST", "bucket", "delete"): "DeleteObjects",
    ("GET", "object", ""): "GetObject",
    ("HEAD", "object", ""): "HeadObject",
    ("PUT", "object", ""): "PutObject",
    ("DELETE", "object", ""): "DeleteObject",
    ("POST", "object", "uploads"): "CreateMultipartUpload",
    ("PUT", "object", "uploadId"): "UploadPart",
    ("GET", "object", "uploadId"): "ListParts",
    ("POST", "object", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", "object", "uploadId"): "AbortMultipartUpload",
}
OPERATIONS = frozenset({*_OPERATIONS.values(), "CopyObject"})
#: members of a query that make another operation of it; most of them are not supported
_SUBRESOURCE = re.compile(
    "accelerate|acl|analytics|attributes|cors|delete|encryption|intelligent-tiering|inventory|legal-hold|lifecycle|"
    "list-type|location|logging|metrics|notification|object-lock|ownershipControls|partNumber|policy|policyStatus|"
    "publicAccessBlock|replication|requestPayment|restore|retention|select|tagging|torrent|uploadId|uploads|"
    "versionId|versioning|versions|website"
)


@dataclass(slots=True)
class Ask:
    """A request. `headers`: names in lower case; `region`, `account`: those it is signed for, and with.

    `wire`: where its body comes from; `body`: that, once it was received; `fault`: the name of what struck.
    """

    op: str
    bucket_name: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    region: str
    account: str
    store: Store
    wire: Receive
    body: Blob | None = None
    fault: str | None = None

    @property
    def bucket(self) -> Bucket:
        """The bucket. Raises S3Error when there is none."""
        if bucket := self.store.buckets.get(self.bucket_name):
            return bucket
        raise S3Error("NoSuchBucket", members={"BucketName": self.bucket_name})

    @property
    def upload(self) -> Upload:
        """The upload in parts. Raises S3Error when there is none."""
        upload = self.bucket.uploads.get(self.query["uploadId"])
        if upload is None or upload.key != self.key:
            raise S3Error("NoSuchUpload", members={"UploadId": self.query["uploadId"]})
        return upload

    @property
    def names(self) -> Names:
        """By what a fault may mean the request."""
        return {"op": (self.op,), "model": (), "region": (self.region,), "account": (self.account,)}

    async def receive(self) -> Blob:
        """Return the body, now in a file. Raises S3Error, and `incoming.ClientGone`."""
        self.body = await receive_blob(self.store, self.headers, self.wire)
        return self.body

    async def small_body(self) -> bytes:
        """Return a body that is XML. Raises S3Error."""
        blob = await self.receive()
        try:
            if blob.size > _MAX_XML:
                raise S3Error("MalformedXML")
            return blob.path.read_bytes()
        finally:
            blob.remove()

    def number(self, name: str, default: int, *, most: int) -> int:
        """Return a whole number of the query, not negative. Raises S3Error."""
        text = self.query.get(name, str(default))
        if not text.isdecimal() or len(text) > 10:
            raise S3Error("InvalidArgument", message=f"Provided {name} not an integer or within integer range")
        return min(int(text), most)


def split(path: str) -> tuple[str, str]:
    """Return the bucket and the key in a path that is not decoded."""
    bucket, _, key = path.removeprefix("/").partition("/")
    return unquote(bucket), unquote(key)


def operation(method: str, bucket: str, key: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """Return the name of the operation, `UNKNOWN` for one that is not supported."""
    scope = "object" if key else "bucket" if bucket else "service"
    named = {name for name in query if _SUBRESOURCE.fullmatch(name)}
    if "uploadId" in named:
        named.discard("partNumber")
    op = _OPERATIONS.get((method, scope, "".join(sorted(named))), UNKNOWN)
    if "x-amz-copy-source" in headers:
        return "CopyObject" if op == "PutObject" else UNKNOWN
    return op


def as_xml(root: str, content: str, headers: list[tuple[bytes, bytes]] | None = None) -> Response:
    """Return an answer with a document."""
    return Response(200, document(root, content), [XML, *(headers or [])])


def bare(status: int, headers: list[tuple[bytes, bytes]] | None = None) -> Response:
    """Return an answer without a body."""
    return Response(status, b"", headers or [])
