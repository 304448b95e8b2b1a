"""What S3's answers say, and what its errors mean to our caller. One table.

S3 names an error in the body, which an answer to HEAD does not have, and may answer 200 to the end of an upload and
tell its failure in the body. Its texts are never passed on: they can hold keys of objects and ids of accounts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from embedrock.errors import (
    BadRequest,
    EmbedrockError,
    InvalidUpstream,
    Retry,
    S3AccessDenied,
    S3Changed,
    S3NotFound,
    Unavailable,
    UpstreamAuthFailed,
)
from embedrock.upstream.connection import Response

_REFUSED_CREDENTIALS: Final = frozenset({"ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "TokenRefreshRequired"})
_REFUSED_SIGNATURES: Final = frozenset({"SignatureDoesNotMatch", "RequestTimeTooSkewed", "MissingSecurityHeader"})
_PASSING: Final = frozenset({"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "OperationAborted"})
_ELSEWHERE: Final = frozenset(
    {"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)
_REGION: Final = re.compile(r"[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}")
_ERROR: Final = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?<Error[\s>]")


class Element:
    """One element of S3's XML, by local names."""

    def __init__(self, element: Any) -> None:
        self._element = element

    def find_all(self, name: str) -> Iterator[Element]:
        """Yield the children of a name."""
        return (Element(child) for child in self._element if _local(child.tag) == name)

    def text(self, name: str) -> str:
        """Return the text of the first child of a name, or nothing."""
        return next((child._element.text or "" for child in self.find_all(name)), "")


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def read(body: bytes | bytearray) -> Element:
    """Return the document in an answer. Raises InvalidUpstream."""
    from xml.etree import ElementTree  # a gateway that never asks S3 needs none

    try:
        return Element(ElementTree.fromstring(bytes(body)))  # noqa: S314  # AWS's own; expat bounds expansion
    except ElementTree.ParseError as exc:
        raise InvalidUpstream("S3's answer is not XML.") from exc


def _code(response: Response) -> str:
    try:
        return read(response.body).text("Code") if response.body else ""
    except InvalidUpstream:
        return ""  # from a load balancer in front: then only the status speaks


def refuses_credentials(response: Response) -> bool:
    """Return whether S3 no longer takes the credentials; others may do."""
    return response.status in (400, 403) and _code(response) in _REFUSED_CREDENTIALS


def check_passing(response: Response) -> None:
    """Raise Unavailable when S3 could not do it now: the same request may go well in a moment."""
    failed_late = response.status == 200 and _ERROR.match(response.body) is not None
    if response.status >= 500 or response.status == 429 or (response.status == 400 and _code(response) in _PASSING):
        raise Unavailable("S3 is not available at the moment.", retry=Retry.TRANSIENT)
    if failed_late and _code(response) in _PASSING:
        raise Unavailable("S3 could not end an upload.", retry=Retry.TRANSIENT)


def check(response: Response, region: str) -> None:
    """Raise the error that stands for S3's; `region` is the one that was asked."""
    if response.status < 300 and not (response.status == 200 and _ERROR.match(response.body)):
        return
    raise _error(response, region)


def _error(response: Response, region: str) -> EmbedrockError:
    code = _code(response)
    there = response.headers.get(b"x-amz-bucket-region", b"").decode("latin-1")
    if response.status in (301, 307) or code in _ELSEWHERE or (there and there != region):
        where = f"in {there}" if _REGION.fullmatch(there) else "in another region"
        return BadRequest(f"The bucket is {where}; it must be in {region}.", code="s3_region_mismatch")
    if code in _REFUSED_CREDENTIALS or code in _REFUSED_SIGNATURES:
        return UpstreamAuthFailed("S3 refused the gateway's credentials.")
    if code == "InvalidObjectState":
        return BadRequest("The object is in an archive; restore it first.", code="s3_object_archived")
    if code == "NoSuchBucket":
        return S3NotFound("There is no such bucket.")
    if response.status == 404:
        return S3NotFound("There is no such object.")
    if response.status == 412:
        return S3Changed("The object changed while it was read.")
    if response.status == 403 or code == "AccessDenied" or code.startswith("KMS."):
        return S3AccessDenied(
            "S3 does not let the gateway at the object: its IAM policy or the bucket's, a key of KMS, or the bucket "
            "belongs to another account."
        )
    return BadRequest("S3 refused the request as invalid.", code="s3_refused")
