"""Operations on buckets, listings of what is in them included."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, NamedTuple
from urllib.parse import quote

from ..control_plane import ACCOUNT
from ..response import Response
from ..settings import Settings
from .ask import Ask, as_xml, bare
from .errors import S3Error
from .store import DEFAULT_BUCKET, S3Object, Store
from .xml import nest, parse, tag, texts, when

_NAME = re.compile(r"(?!xn--|\d+\.\d+\.\d+\.\d+$)[a-z0-9](?!.*\.\.)[a-z0-9.-]{1,61}[a-z0-9]")
_MOST = 1000


def post_bucket(store: Store, body: object) -> dict[str, Any]:
    """Make the bucket in a body posted to `/_emulator/buckets`, in place of one of that name. Raises BadSettingError.

    `name`; `region`: none for one that is in every region; `owner`: an account's id.
    """
    settings = Settings(body)
    name, region = settings.text("name"), settings.text_or_none("region")
    owner = settings.text_or_none("owner") or ACCOUNT
    settings.done()
    if not _NAME.fullmatch(name):
        raise settings.refuse("name", "must be a name that S3 allows for a bucket")
    if name == DEFAULT_BUCKET:
        raise settings.refuse("name", "is the bucket that is always there")
    if old := store.buckets.get(name):
        old.clear()
    return store.create(name, region, owner).as_json()


async def list_buckets(ask: Ask) -> Response:
    """Answer ListBuckets: all of them, in one page."""
    shown = [
        nest("Bucket", (tag("Name", bucket.name), tag("CreationDate", when(bucket.created))))
        for _, bucket in sorted(ask.store.buckets.items())
    ]
    owner = nest("Owner", (tag("ID", "emulator"), tag("DisplayName", "emulator")))
    return as_xml("ListAllMyBucketsResult", owner + nest("Buckets", shown))


async def create(ask: Ask) -> Response:
    """Answer CreateBucket: in the region the body says, else in the one of the call."""
    body = await ask.small_body()
    if not _NAME.fullmatch(ask.bucket_name):
        raise S3Error("InvalidBucketName", members={"BucketName": ask.bucket_name})
    region = ask.region
    if body.strip():
        try:
            region = next(texts(parse(body), "LocationConstraint"), "") or region
        except ValueError:
            raise S3Error("MalformedXML") from None
    if ask.bucket_name in ask.store.buckets:
        raise S3Error("BucketAlreadyOwnedByYou", members={"BucketName": ask.bucket_name})
    ask.store.create(ask.bucket_name, region)
    return bare(200, [(b"location", f"/{ask.bucket_name}".encode())])


async def head(ask: Ask) -> Response:
    """Answer HeadBucket."""
    return bare(200, [(b"x-amz-bucket-region", (ask.bucket.region or ask.region).encode())])


async def delete(ask: Ask) -> Response:
    """Answer DeleteBucket. The one that is always there stays."""
    if ask.bucket_name == DEFAULT_BUCKET:
        raise S3Error("AccessDenied")
    if ask.bucket.objects:
        raise S3Error("BucketNotEmpty", members={"BucketName": ask.bucket_name})
    ask.bucket.clear()
    del ask.store.buckets[ask.bucket_name]
    return bare(204)


async def location(ask: Ask) -> Response:
    """Answer GetBucketLocation: nothing stands for us-east-1."""
    region = ask.bucket.region or ask.region
    return as_xml("LocationConstraint", "" if region == "us-east-1" else region)


class _Page(NamedTuple):
    """`objects`, and the prefixes that stand for several; `last`: where the next page begins, None when there is none.

    `size`: how many there are of both.
    """

    objects: list[tuple[str, S3Object]]
    prefixes: list[str]
    last: str | None

    @property
    def size(self) -> int:
        return len(self.objects) + len(self.prefixes)


async def list_objects_v2(ask: Ask) -> Response:
    """Answer ListObjectsV2."""
    token = ask.query.get("continuation-token")
    try:
        after = urlsafe_b64decode(token).decode() if token else ask.query.get("start-after", "")
    except ValueError:
        raise S3Error("InvalidArgument", message="The continuation token provided is incorrect") from None
    page = _page(ask, after)
    own = [tag("KeyCount", page.size)]
    own += [tag("ContinuationToken", token)] if token else []
    own += [tag("StartAfter", _shown(ask, ask.query["start-after"]))] if "start-after" in ask.query else []
    if page.last is not None:
        own.append(tag("NextContinuationToken", urlsafe_b64encode(page.last.encode()).decode()))
    return _listing(ask, page, own)


async def list_objects(ask: Ask) -> Response:
    """Answer ListObjects, the older one."""
    page = _page(ask, ask.query.get("marker", ""))
    own = [tag("Marker", _shown(ask, ask.query.get("marker", "")))]
    if page.last is not None:
        own.append(tag("NextMarker", _shown(ask, page.last)))
    return _listing(ask, page, own)


def _page(ask: Ask, after: str) -> _Page:
    prefix, delimiter = ask.query.get("prefix", ""), ask.query.get("delimiter", "")
    most = ask.number("max-keys", _MOST, most=_MOST)
    page, last = _Page([], [], None), after
    if not most:
        return page
    for key, found in sorted(ask.bucket.objects.items(), key=lambda item: item[0].encode()):
        if not key.startswith(prefix) or key.encode() <= after.encode():
            continue
        rest = key.removeprefix(prefix)
        common = prefix + rest.partition(delimiter)[0] + delimiter if delimiter and delimiter in rest else ""
        if common and (common == after or common in page.prefixes[-1:]):
            last = key if common in page.prefixes[-1:] else last
            continue
        if page.size == most:
            return page._replace(last=last)
        if common:
            page.prefixes.append(common)
        else:
            page.objects.append((key, found))
        last = key
    return page


def _listing(ask: Ask, page: _Page, own: list[str]) -> Response:
    shown = [
        tag("Name", ask.bucket_name),
        tag("Prefix", _shown(ask, ask.query.get("prefix", ""))),
        tag("MaxKeys", ask.number("max-keys", _MOST, most=_MOST)),
        tag("IsTruncated", page.last is not None),
        *own,
    ]
    if ask.query.get("delimiter"):
        shown.append(tag("Delimiter", _shown(ask, ask.query["delimiter"])))
    if ask.query.get("encoding-type") == "url":
        shown.append(tag("EncodingType", "url"))
    shown += [
        nest(
            "Contents",
            (
                tag("Key", _shown(ask, key)),
                tag("LastModified", when(found.modified)),
                tag("ETag", found.etag),
                tag("Size", found.blob.size),
                tag("StorageClass", "STANDARD"),
            ),
        )
        for key, found in page.objects
    ]
    shown += [nest("CommonPrefixes", (tag("Prefix", _shown(ask, prefix)),)) for prefix in page.prefixes]
    return as_xml("ListBucketResult", "".join(shown))


def _shown(ask: Ask, text: str) -> str:
    """Return a key as the caller wants to read it: percent-encoded where asked for."""
    return quote(text, safe="/-_.~*") if ask.query.get("encoding-type") == "url" else text
