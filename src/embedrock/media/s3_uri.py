"""Media in S3: `s3://bucket/key`, checked by its form only.

The form is narrower than S3's, on purpose: a key that different programs could read as different paths is refused,
so that a check of its prefix holds for all of them.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

from embedrock.errors import BadRequest
from embedrock.media.formats import BY_EXTENSION, BY_TYPE, FORMATS, TEXT_EXTENSIONS, Kind

_SCHEME: Final = "s3://"
# Amazon S3 User Guide, "Bucket naming rules". The endings are reserved for aliases of access points and the like.
_BUCKET: Final = re.compile(
    r"(?!.*\.\.)(?!\d+\.\d+\.\d+\.\d+\Z)(?!.*(?:-s3alias|--ol-s3|\.mrap|--x-s3|--table-s3)\Z)"
    r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
)
_KEY: Final = re.compile(r'[!"$->@-\[\]-~]{1,1024}')  # printable ASCII but space, #, ? and backslash
_AMBIGUOUS: Final = re.compile(
    r"(?:\A|/)/"  # an empty segment
    r"|(?:\A|/)\.\.?(?:/|\Z)"  # . or ..
    r"|%(?:2e|2f|5c)"  # the same in disguise
    r"|[./]\Z",  # a folder; and what some file systems drop
    re.IGNORECASE,
)
_LONGEST: Final = len(_SCHEME) + 63 + 1 + 1024


class S3Object(NamedTuple):
    """An object in S3; kind and format are what the key's extension says, or None.

    The rest is known once somebody has looked: its size, and the account that owns the bucket where that was checked.
    """

    uri: str
    kind: Kind | Literal["text"] | None
    format: str | None  # Bedrock's name, or `text`
    size: int | None = None
    owner: str | None = None

    def __repr__(self) -> str:
        return f"S3Object(kind={self.kind!r}, format={self.format!r})"


def is_s3(text: str) -> bool:
    """Return whether `text` names an object in S3: it does, or is an error, but is never a text."""
    return text.startswith(_SCHEME)


def read_s3_uri(text: str, param: str) -> S3Object:
    """Return the object that `text` names. Raises BadRequest `invalid_s3_uri` for `param`."""
    # One letter more than can be right is enough to see that a text is too long.
    bucket, _, key = text[len(_SCHEME) : _LONGEST + 1].partition("/")
    if not (is_s3(text) and bucket and key):
        raise _refused("must be s3://bucket/key", param)
    if not _BUCKET.fullmatch(bucket):
        raise _refused("does not name a bucket by the rules of S3 (no ARN, no alias of an access point)", param)
    if not _KEY.fullmatch(key) or _AMBIGUOUS.search(key):
        raise _refused(
            "has a key that is not plain: at most 1,024 letters of printable ASCII, without spaces, \\, ?, #, "
            "empty or dotted segments, encoded dots or slashes, or a dot or slash at the end",
            param,
        )
    stem, _, extension = key.rpartition("/")[2].lower().rpartition(".")
    if not stem:
        return S3Object(text, None, None)
    if extension in TEXT_EXTENSIONS:
        return S3Object(text, "text", "text")
    format_ = BY_EXTENSION.get(extension)
    return S3Object(text, FORMATS[format_].kind if format_ else None, format_)


def of_mime(item: S3Object, mime: str) -> S3Object:
    """Return an object whose key does not tell what it is with the kind and format that a MIME type says, if any."""
    if item.kind is not None:
        return item
    if mime.startswith("text/"):
        return item._replace(kind="text", format="text")
    format_ = BY_TYPE.get(mime)
    return item._replace(kind=FORMATS[format_].kind, format=format_) if format_ else item


def _refused(why: str, param: str) -> BadRequest:
    return BadRequest(f"'{param}' {why}.", param=param, code="invalid_s3_uri")
